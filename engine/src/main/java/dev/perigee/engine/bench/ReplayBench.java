package dev.perigee.engine.bench;

import com.sun.management.ThreadMXBean;
import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.model.LatentCache;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.Locale;
import java.util.SplittableRandom;

/**
 * What the host costs: steps whose kernels are asked for one by one beside the same steps replayed
 * as captured graphs, in one run, as a Markdown table.
 */
final class ReplayBench {
  private static final int WARM = 5;
  private static final int STEPS = 30;
  private static final int ROUNDS = 5;

  /**
   * What a step was seen to take.
   *
   * @param ms from step to step, the device included; the median of the rounds
   * @param hostMs of it until the step's last call had returned
   * @param bytes that it allocated on the Java heap
   */
  private record Seen(double ms, double hostMs, double bytes) {}

  /** Work of which a step is measured; its model is on a backend of its own. */
  @FunctionalInterface
  private interface Steps {
    Runnable on(CudaBackend backend);
  }

  private ReplayBench() {}

  /** The table. */
  static String table() {
    ModelConfig quickstart = ModelPresets.find("quickstart").orElseThrow();
    ModelConfig slice = TrainBench.slice();
    StringBuilder out = new StringBuilder();
    out.append("| step | one by one: host, Java heap | replayed: host, Java heap | ratio |\n");
    out.append("|---|---|---|---|\n");
    out.append(row("training, preset quickstart, 16 x 128", b -> training(b, quickstart, 16, 128)));
    out.append(row("training, preset quickstart, 1 x 64", b -> training(b, quickstart, 1, 64)));
    out.append(row("decoding, preset quickstart, 1 sequence", b -> decoding(b, quickstart, 1)));
    out.append(row("decoding, four Moonlight layers, 1 sequence", b -> decoding(b, slice, 1)));
    out.append(row("decoding, four Moonlight layers, 64 sequences", b -> decoding(b, slice, 64)));
    return out.toString();
  }

  private static String row(String name, Steps steps) {
    Seen asked = seen(steps, false);
    Seen replayed = seen(steps, true);
    return String.format(
        Locale.ROOT,
        "| %s | %s | %s | %.2f |%n",
        name,
        text(asked),
        text(replayed),
        asked.ms / replayed.ms);
  }

  private static String text(Seen s) {
    return String.format(Locale.ROOT, "%.3f ms: %.3f ms, %.1f kB", s.ms, s.hostMs, s.bytes / 1000);
  }

  private static Seen seen(Steps steps, boolean records) {
    try (CudaBackend backend = CudaBackend.open(0, Precision.BF16)) {
      if (!records) {
        backend.recordNothing();
      }
      Runnable step = steps.on(backend);
      for (int i = 0; i < WARM; i++) {
        step.run();
      }
      ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
      double[] whole = new double[ROUNDS];
      double[] host = new double[ROUNDS];
      long bytes = threads.getCurrentThreadAllocatedBytes();
      for (int r = 0; r < ROUNDS; r++) {
        backend.synchronize();
        long start = System.nanoTime();
        for (int i = 0; i < STEPS; i++) {
          step.run();
        }
        host[r] = (System.nanoTime() - start) / 1e6 / STEPS;
        backend.synchronize();
        whole[r] = (System.nanoTime() - start) / 1e6 / STEPS;
      }
      bytes = threads.getCurrentThreadAllocatedBytes() - bytes;
      Arrays.sort(whole);
      Arrays.sort(host);
      return new Seen(whole[ROUNDS / 2], host[ROUNDS / 2], (double) bytes / (ROUNDS * STEPS));
    }
  }

  private static Model model(CudaBackend backend, ModelConfig shape) {
    Model model = Model.create(shape, backend, Collectives.solo());
    model.parameters().forEach(p -> backend.fillNormal(p.value(), p.name().hashCode(), 0.02f));
    return model;
  }

  /** Gradients of one micro-batch, their norm, and the optimizer's update. */
  private static Runnable training(CudaBackend backend, ModelConfig shape, int batch, int length) {
    Model model = model(backend, shape);
    Optimizer optimizer =
        new Optimizer(
            RunConfig.Optimizer.DEFAULT,
            model.parameters(),
            backend,
            Fabric.local(1).groups(new Mesh(1, 1, 1, 1), 0));
    int tokens = batch * length;
    int[] ids = new SplittableRandom(1).ints(tokens, 0, shape.vocabSize()).toArray();
    long[] step = {0};
    return () -> {
      model.zeroGradients();
      model.addMicroBatch(ids, ids, batch, length, 1);
      optimizer.reduceGradients();
      optimizer.update(++step[0], 1e-4, 1.0 / ids.length, _ -> {});
    };
  }

  /** One token of each sequence, into a cache of up to 4096 tokens. */
  private static Runnable decoding(CudaBackend backend, ModelConfig shape, int batch) {
    Model model = model(backend, shape);
    Tensor logits_BV = backend.zeros(batch, shape.vocabSize());
    LatentCache cache = model.newCache(batch, 4096);
    int[] ids = new SplittableRandom(1).ints(batch, 0, shape.vocabSize()).toArray();
    return () -> model.step(ids, cache, logits_BV);
  }
}
