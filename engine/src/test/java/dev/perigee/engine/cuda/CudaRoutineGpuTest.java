package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.Cuda;
import dev.perigee.engine.model.LatentCache;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Models;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Replayed steps come to bitwise the same numbers as steps that are asked for one by one. */
class CudaRoutineGpuTest {
  /** The shapes that are tried. */
  enum Shape {
    /** Widths of heads and a vocabulary that have kernels of their own. */
    WIDE,

    /** Expert widths that have kernels of their own, and attention that has none. */
    EVEN,

    /** All sizes odd: experts are products one by one, and nothing can be recorded. */
    ODD;

    private ModelConfig config() {
      return switch (this) {
        case WIDE -> Models.wide();
        case EVEN -> Models.even(3);
        case ODD -> Models.tiny();
      };
    }
  }

  @BeforeAll
  static void aGpu() {
    Optional<String> why = Cuda.whyAbsent();
    assumeTrue(why.isEmpty(), () -> why.orElse(""));
  }

  private static CudaBackend backend(boolean records) {
    CudaBackend backend = CudaBackend.open(0, Precision.BF16);
    if (!records) {
      backend.recordNothing();
    }
    return backend;
  }

  @ParameterizedTest
  @EnumSource
  void training(Shape shape) {
    assertThat(trained(shape.config(), true)).isEqualTo(trained(shape.config(), false));
  }

  /** Losses, gradients and weights of some steps, each of several micro-batches. */
  private static List<List<Float>> trained(ModelConfig config, boolean records) {
    List<List<Float>> found = new ArrayList<>();
    try (CudaBackend backend = backend(records)) {
      Model model = Model.create(config, backend, Collectives.solo());
      model.initialize(3);
      Fabric fabric = Fabric.local(1);
      Optimizer optimizer =
          new Optimizer(
              RunConfig.Optimizer.DEFAULT,
              model.parameters(),
              backend,
              fabric.groups(new Mesh(1, 1, 1, 1), 0));
      for (int step = 1; step <= 4; step++) {
        model.zeroGradients();
        model.resetLoss();
        for (int i = 0; i < 3; i++) {
          int[] ids = Models.ids(4 * 65, config.vocabSize(), 10L * step + i);
          int[] targets = ids.clone();
          targets[5] = -1;
          model.addMicroBatch(ids, targets, 4, 65, 1);
        }
        found.add(List.of((float) model.loss(), (float) optimizer.reduceGradients()));
        for (Parameter p : model.parameters()) {
          found.add(numbers(p.gradient()));
        }
        optimizer.update(step, 1e-2, 1.0 / 780, _ -> {});
        int[] ids = Models.ids(2 * 33, config.vocabSize(), step);
        found.add(List.of((float) model.forwardLoss(ids, ids, 2, 33))); // in the same memory
      }
      for (Parameter p : model.parameters()) {
        found.add(numbers(p.value()));
      }
    }
    return found;
  }

  @ParameterizedTest
  @EnumSource
  void decoding(Shape shape) {
    assertThat(decoded(shape.config(), true)).isEqualTo(decoded(shape.config(), false));
  }

  private static List<List<Float>> decoded(ModelConfig config, boolean records) {
    List<List<Float>> found = new ArrayList<>();
    try (CudaBackend backend = backend(records)) {
      Model model = Model.create(config, backend, Collectives.solo());
      model.initialize(3);
      Tensor logits_BV = backend.zeros(3, config.vocabSize());
      try (LatentCache cache = model.newCache(3, 140)) {
        for (int t = 0; t < 140; t++) {
          model.step(Models.ids(3, config.vocabSize(), t), cache, logits_BV);
          found.add(numbers(logits_BV));
        }
      }
    }
    return found;
  }

  private static List<Float> numbers(Tensor x) {
    List<Float> numbers = new ArrayList<>();
    for (float v : x.onHost().floats()) {
      numbers.add(v);
    }
    return numbers;
  }
}
