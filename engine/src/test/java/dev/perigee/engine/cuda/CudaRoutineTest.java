package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.sun.management.ThreadMXBean;
import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Routine;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.model.LatentCache;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Models;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.lang.management.ManagementFactory;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Steps of training and decoding are asked for once and then replayed; on a fake GPU. */
class CudaRoutineTest {
  private static final int BATCH = 2;
  private static final int LENGTH = 7;

  private final FakeGpu gpu = new FakeGpu();

  private Model model(int layers, Precision precision, boolean tiled) {
    Model model =
        Model.create(Models.even(layers), gpu.backend(precision, tiled), Collectives.solo());
    model.initialize(3);
    return model;
  }

  private static void train(Model model, int seed) {
    int[] ids = Models.ids(BATCH * LENGTH, model.config().vocabSize(), seed);
    model.addMicroBatch(ids, ids, BATCH, LENGTH, 1);
  }

  private List<String> kernels() {
    return gpu.launches.stream()
        .map(l -> l.kernel() + " " + l.sizes())
        .filter(k -> !k.startsWith("vector_to_bf16")) // weights are rounded once
        .toList();
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aMicroBatchIsAskedForOnceAndThenReplayed(boolean tiled) {
    Model model = model(3, Precision.BF16, tiled);
    gpu.launches.clear();
    train(model, 1);
    List<String> first = kernels();
    int products = gpu.products.size();
    gpu.launches.clear();
    gpu.products.clear();
    gpu.asked = 0;
    train(model, 2);
    assertThat(kernels()).hasSizeGreaterThan(100).isEqualTo(first);
    assertThat(gpu.products).hasSize(products);
    assertThat(gpu.replays).isEqualTo(1);
    for (int i = 0; i < 3; i++) {
      train(model, i);
    }
    assertThat(gpu.replays).isEqualTo(4);
    assertThat(gpu.asked).as("launches of one kernel").isZero();
  }

  @Test
  void anOptimizersStepIsAskedForOnceAndThenReplayed() {
    Model model =
        Model.create(Models.wide(), gpu.backend(Precision.BF16, false), Collectives.solo());
    Optimizer optimizer =
        new Optimizer(
            RunConfig.Optimizer.DEFAULT,
            model.parameters(),
            model.backend(),
            Fabric.local(1).groups(new Mesh(1, 1, 1, 1), 0));
    gpu.launches.clear();
    optimizer.update(1, 1e-3, 1, _ -> {});
    List<String> first = kernels();
    gpu.launches.clear();
    gpu.asked = 0;
    optimizer.update(2, 1e-3, 1, _ -> {});
    assertThat(kernels()).hasSizeGreaterThan(50).isEqualTo(first);
    optimizer.update(3, 1e-3, 1, _ -> {});
    assertThat(gpu.replays).isEqualTo(2);
    assertThat(gpu.asked).as("launches of one kernel").isZero();
  }

  @Test
  void aDecodingStepIsAskedForOnceForEachReachOfTheCacheAndThenReplayed() {
    Model model = model(2, Precision.BF16, false);
    Tensor logits_BV = model.backend().zeros(3, model.config().vocabSize());
    try (LatentCache cache = model.newCache(3, 130)) {
      for (int t = 0; t < 130; t++) {
        model.step(new int[] {t % 48, 1, 2}, cache, logits_BV);
      }
    }
    // 64, 128 and 192 positions: all steps but the first of each.
    assertThat(gpu.replays).isEqualTo(130 - 3);
  }

  @Test
  void whatAReplayCostsTheHostDoesNotGrowWithTheModel() {
    long few = replayBytes(model(2, Precision.BF16, false));
    long many = replayBytes(model(8, Precision.BF16, false));
    assertThat(many).isCloseTo(few, within(256L)).isLessThan(8192);
  }

  /** Bytes that a micro-batch allocates on the Java heap once it is recorded. */
  private long replayBytes(Model model) {
    int[] ids = Models.ids(BATCH * LENGTH, model.config().vocabSize(), 1);
    gpu.replaysNothing = true;
    for (int i = 0; i < 50; i++) {
      model.addMicroBatch(ids, ids, BATCH, LENGTH, 1);
    }
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long before = threads.getCurrentThreadAllocatedBytes();
    for (int i = 0; i < 100; i++) {
      model.addMicroBatch(ids, ids, BATCH, LENGTH, 1);
    }
    return (threads.getCurrentThreadAllocatedBytes() - before) / 100;
  }

  @Test
  void workThatNeedsTheHostIsDoneAsItIsAskedForEachTime() {
    Model model = model(3, Precision.FP32, false); // whose experts are products one by one
    gpu.launches.clear();
    train(model, 1);
    List<String> first = kernels();
    for (int i = 0; i < 3; i++) {
      gpu.launches.clear();
      train(model, i);
      assertThat(kernels()).isEqualTo(first);
    }
    assertThat(gpu.replays).isZero();
  }

  @Test
  void memoryThatIsInUseIsNotWrittenByAReplay() {
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    Tensor stays = backend.zeros(500);
    try (Routine routine =
        backend.routine(
            () -> {
              try (Arena.Scope _ = backend.arena().open()) {
                Tensor x = backend.arena().take(500);
                backend.copy(stays, x);
                backend.add(x, x);
              }
            })) {
      routine.run();
      routine.run();
      assertThat(gpu.replays).isEqualTo(1);
      try (Arena.Scope _ = backend.arena().open()) {
        Tensor held = backend.arena().take(500); // what the recording writes to
        long before = TensorMemory.of(held).address();
        gpu.launches.clear();
        routine.run();
        assertThat(gpu.launches).isNotEmpty();
        for (Launch l : gpu.launches) {
          assertThat(l.arguments()).doesNotContain(new Launch.Argument.Address(before));
        }
      }
    }
  }

  @Test
  void weightsThatChangedAreRoundedBeforeAReplay() {
    CudaBackend backend = gpu.backend(Precision.BF16, false);
    Tensor w = backend.weights(16, 16);
    Tensor x = backend.zeros(16, 16);
    Tensor y = backend.zeros(16, 16);
    try (Routine routine = backend.routine(() -> backend.linear(x, w, y))) {
      routine.run();
      routine.run();
      gpu.asked = 0;
      routine.run();
      assertThat(gpu.asked).isZero();
      backend.add(x, w);
      gpu.asked = 0;
      routine.run();
      assertThat(gpu.asked).as("the rounding").isEqualTo(1);
      assertThat(gpu.launches.getLast().kernel()).isNotEqualTo("vector_axpby");
    }
  }

  @Test
  void weightsThatARoutineChangesAreRoundedBeforeTheirNextUse() {
    CudaBackend backend = gpu.backend(Precision.BF16, false);
    Tensor w = backend.weights(16, 16);
    Tensor x = backend.zeros(16, 16);
    Tensor y = backend.zeros(16, 16);
    backend.linear(x, w, y);
    try (Routine routine = backend.routine(() -> backend.add(x, w))) {
      for (int i = 0; i < 4; i++) {
        routine.run();
        gpu.launches.clear();
        backend.linear(x, w, y);
        assertThat(gpu.launches).extracting(Launch::kernel).contains("vector_to_bf16");
      }
    }
    assertThat(gpu.replays).isEqualTo(3);
  }

  @Test
  void aSlotTakesOtherNumbersOfTheSameCount() {
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    Indices.Slot slot = backend.slot(3);
    assertThat(slot.onHost()).containsExactly(0, 0, 0);
    slot.set(4, 5, 6);
    assertThat(slot.onHost()).containsExactly(4, 5, 6);
    assertThatThrownBy(() -> slot.set(1, 2)).hasMessageContaining("2 indices for a slot of 3");
  }

  @Test
  void tokensAreLookedAtThoughTheDeviceDoesNot() {
    Model model = model(2, Precision.BF16, false);
    int[] good = Models.ids(BATCH * LENGTH, 48, 1);
    int[] bad = good.clone();
    bad[3] = 48;
    for (int i = 0; i < 3; i++) {
      model.addMicroBatch(good, good, BATCH, LENGTH, 1);
      assertThatThrownBy(() -> model.addMicroBatch(bad, good, BATCH, LENGTH, 1))
          .hasMessageContaining("token 48 is not in the vocabulary of 48");
      assertThatThrownBy(() -> model.addMicroBatch(good, bad, BATCH, LENGTH, 1))
          .hasMessageContaining("target 48 is not in the vocabulary of 48");
    }
  }
}
