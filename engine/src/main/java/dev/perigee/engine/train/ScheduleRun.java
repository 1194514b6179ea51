package dev.perigee.engine.train;

import dev.perigee.engine.model.Chunk;
import dev.perigee.engine.model.Chunk.Exchange;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.model.StagePlace;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.plan.Schedule;
import dev.perigee.plan.Step;
import dev.perigee.plan.Step.Action;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.function.Consumer;

/**
 * One rank's forward and backward passes over the micro-batches of one optimizer step: goes through
 * its stage's list of a {@link Schedule}, step by step, whatever the schedule is. A single rank
 * without a pipeline is the schedule of one stage.
 *
 * <p>Exchanges of experts' rows run one after the other on a thread of their own, in the order of
 * the schedule, which is the same on every rank that shares the experts; a part that needs one
 * waits for it. Nothing depends on how fast anything is but the time that it takes.
 */
final class ScheduleRun {
  /** Micro-batches of this rank. */
  @FunctionalInterface
  interface MicroBatches {
    /** Fills in the tokens of a micro-batch and what each should predict. */
    void read(int microBatch, int[] ids, int[] targets);
  }

  /**
   * What the passes came to on this rank.
   *
   * @param loss summed over the targets that count, in nats; 0 but on the last stage
   * @param targets that count; 0 but on the last stage
   */
  record Sums(double loss, long targets) {}

  private record Key(int microBatch, int chunk) {}

  /** A pass that is under way. */
  private static final class Running {
    private final Chunk chunk;
    private final Chunk.Pass pass;
    private boolean weightsDone;
    private boolean handedOver;

    Running(Chunk chunk, Chunk.Pass pass) {
      this.chunk = chunk;
      this.pass = pass;
    }
  }

  private final Schedule schedule;
  private final Model model;
  private final StagePlace place;
  private final Collectives pipeline;
  private final int batch;
  private final int length;
  private final MicroBatches microBatches;
  private final Consumer<List<Parameter>> gradientsReady;
  private final boolean overlapsGradients;
  private final StepRecorder recorder;

  private final Map<Key, Running> running = new HashMap<>();
  private final Map<Step, Future<?>> exchanges = new HashMap<>();
  private ExecutorService exchangeThread;
  private long targetsThatCount;

  /**
   * A run of a schedule.
   *
   * @param batch sequences of a micro-batch
   * @param length tokens of a sequence
   * @param gradientsReady is told parameters when no gradient will be added to them any more
   * @param overlapsGradients whether it wants to know that as soon as it is so, to exchange them
   *     beside the rest
   */
  ScheduleRun(
      Schedule schedule,
      Model model,
      int batch,
      int length,
      MicroBatches microBatches,
      Consumer<List<Parameter>> gradientsReady,
      boolean overlapsGradients,
      StepRecorder recorder) {
    this.schedule = schedule;
    this.model = model;
    this.place = model.place();
    this.pipeline = place.pipeline();
    this.batch = batch;
    this.length = length;
    this.microBatches = microBatches;
    this.gradientsReady = gradientsReady;
    this.overlapsGradients = overlapsGradients;
    this.recorder = recorder;
  }

  /**
   * Takes every step of this rank's stage.
   *
   * @throws dev.perigee.engine.parallel.LostPeerException when a peer is gone
   */
  Sums run() {
    model.resetLoss();
    if (!overlapsGradients && isPlain()) {
      runPlain();
      return new Sums(model.loss(), targetsThatCount);
    }
    try {
      for (Step step : schedule.steps().get(pipeline.index())) {
        awaitExchanges(step);
        if (step.action().exchangesExperts()) {
          exchange(step);
        } else {
          long start = System.nanoTime();
          take(step);
          recorder.done(step, start, System.nanoTime());
        }
      }
    } finally {
      // Not close(): when this rank has failed, an exchange may wait for ranks that wait for it.
      if (exchangeThread != null) {
        exchangeThread.shutdown();
      }
      running.values().forEach(r -> r.pass.close());
    }
    return new Sums(model.loss(), targetsThatCount);
  }

  /**
   * Whether a micro-batch goes through the whole model in one piece here, with nothing to exchange
   * and nothing to move out of the way between its forward and its backward pass.
   */
  private boolean isPlain() {
    return recorder.equals(StepRecorder.NONE)
        && place.stages() == 1
        && model.chunks().size() == 1
        && !model.sharesExperts()
        && schedule.steps().getFirst().stream()
            .allMatch(s -> s.action() == Action.FORWARD || s.action() == Action.BACKWARD);
  }

  /** One micro-batch after the other, each forward and backward at once. */
  private void runPlain() {
    for (int i = 0; i < schedule.shape().microBatches(); i++) {
      int[] ids = new int[batch * length];
      int[] targets = new int[batch * length];
      microBatches.read(i, ids, targets);
      count(targets);
      model.addMicroBatch(ids, targets, batch, length, 1);
    }
    gradientsReady.accept(model.parametersFromTheEnd());
  }

  private void count(int[] targets) {
    for (int target : targets) {
      targetsThatCount += target >= 0 ? 1 : 0;
    }
  }

  private void take(Step step) {
    int chunk = step.chunk();
    Key key = new Key(step.microBatch(), chunk);
    Consumer<List<Parameter>> done =
        step.microBatch() == schedule.shape().microBatches() - 1 ? gradientsReady : none -> {};
    switch (step.action()) {
      case RECEIVE_ACTIVATION ->
          pipeline.receive(
              place.stageOf(chunk - 1),
              StagePlace.activationsInto(chunk),
              begin(key).pass.input_TH());
      case FORWARD -> forward(key, step.part());
      case SEND_ACTIVATION ->
          pipeline.send(
              place.stageOf(chunk + 1),
              StagePlace.activationsInto(chunk + 1),
              get(key).pass.output_TH());
      case RECEIVE_GRADIENT ->
          pipeline.receive(
              place.stageOf(chunk + 1),
              StagePlace.gradientsOutOf(chunk + 1),
              get(key).pass.outputGradient_TH());
      case BACKWARD, BACKWARD_INPUT -> backward(key, step, done);
      case BACKWARD_WEIGHT -> {
        Running r = get(key);
        r.chunk.backwardWeight(r.pass, step.part(), done);
        r.weightsDone = step.part() == 0;
        endIfDone(key, r);
      }
      case SEND_GRADIENT -> {
        Running r = get(key);
        pipeline.send(
            place.stageOf(chunk - 1), StagePlace.gradientsOutOf(chunk), r.pass.inputGradient_TH());
        r.handedOver = true;
        endIfDone(key, r);
      }
      case DISPATCH, COMBINE, COMBINE_BACKWARD, DISPATCH_BACKWARD ->
          throw new IllegalStateException(step + " is no step of its own thread");
      case OFFLOAD -> get(key).pass.offload();
      case LOAD -> get(key).pass.load();
    }
  }

  private Running get(Key key) {
    return running.get(key);
  }

  private Running begin(Key key) {
    Chunk chunk = model.chunks().get(key.chunk / place.stages());
    int[] ids = new int[batch * length];
    int[] targets = new int[batch * length];
    if (chunk.isFirst() || chunk.isLast()) {
      microBatches.read(key.microBatch, ids, targets);
    }
    Chunk.Pass pass = chunk.pass(ids, targets, batch, length, 1, schedule.shape().expertOverlap());
    if (chunk.isLast()) {
      count(targets);
    }
    Running begun = new Running(chunk, pass);
    running.put(key, begun);
    return begun;
  }

  private void forward(Key key, int part) {
    Running r = running.get(key);
    if (r == null) {
      r = begin(key);
      if (key.chunk > 0) { // of the same rank, or the input would have been received
        copy(get(new Key(key.microBatch, key.chunk - 1)).pass.output_TH(), r.pass.input_TH());
      }
    }
    r.chunk.forward(r.pass, part);
  }

  private void backward(Key key, Step step, Consumer<List<Parameter>> done) {
    Running r = get(key);
    if (step.part() == r.pass.parts() - 1
        && !r.chunk.isLast()
        && !schedule.crosses(key.chunk, key.chunk + 1)) {
      Key next = new Key(key.microBatch, key.chunk + 1);
      Running after = get(next);
      copy(after.pass.inputGradient_TH(), r.pass.outputGradient_TH());
      after.handedOver = true;
      endIfDone(next, after);
    }
    if (step.action() == Action.BACKWARD) {
      r.chunk.backward(r.pass, step.part(), done);
      r.weightsDone = step.part() == 0;
    } else {
      r.chunk.backwardInput(r.pass, step.part());
    }
    if (step.part() == 0) {
      r.handedOver |= r.chunk.isFirst();
      endIfDone(key, r);
    }
  }

  private void endIfDone(Key key, Running r) {
    if (r.weightsDone && r.handedOver) {
      r.pass.close();
      running.remove(key);
    }
  }

  private void copy(Tensor from, Tensor to) {
    model.backend().copy(from, to);
  }

  /** Starts an exchange of experts' rows. */
  private void exchange(Step step) {
    Exchange what =
        switch (step.action()) {
          case DISPATCH -> Exchange.DISPATCH;
          case COMBINE -> Exchange.COMBINE;
          case COMBINE_BACKWARD -> Exchange.COMBINE_BACKWARD;
          case DISPATCH_BACKWARD -> Exchange.DISPATCH_BACKWARD;
          default -> throw new IllegalStateException(step + " is no exchange");
        };
    Running r = get(new Key(step.microBatch(), step.chunk()));
    if (!model.sharesExperts()) { // nothing to wait for
      long start = System.nanoTime();
      r.chunk.exchange(r.pass, what, step.part());
      recorder.done(step, start, System.nanoTime());
      return;
    }
    if (exchangeThread == null) {
      String name = Thread.currentThread().getName() + " experts";
      exchangeThread =
          Executors.newSingleThreadExecutor(Thread.ofPlatform().daemon().name(name).factory());
    }
    Runnable exchange = // of what has been computed by now; the rank computes on meanwhile
        model.backend().fromHere(() -> r.chunk.exchange(r.pass, what, step.part()));
    exchanges.put(
        step,
        exchangeThread.submit(
            () -> {
              long start = System.nanoTime();
              exchange.run();
              recorder.done(step, start, System.nanoTime());
            }));
  }

  private void awaitExchanges(Step step) {
    if (!step.action().computes()) {
      return;
    }
    for (Step needed : schedule.needs(step)) {
      Future<?> exchange = exchanges.remove(needed);
      if (exchange != null) {
        await(exchange);
      }
    }
  }

  private static void await(Future<?> exchange) {
    try {
      exchange.get();
    } catch (ExecutionException e) {
      switch (e.getCause()) {
        case RuntimeException cause -> throw cause;
        case Error cause -> throw cause;
        default -> throw new IllegalStateException(e.getCause());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("a rank's thread was interrupted", e);
    }
  }
}
