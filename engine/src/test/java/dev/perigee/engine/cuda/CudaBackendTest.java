package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.OutOfDeviceMemoryException;
import dev.perigee.engine.cuda.kernels.KernelSources;
import dev.perigee.engine.model.LatentCache;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Models;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.plan.Hardware;
import dev.perigee.plan.LossMemory;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What the backend asks of a GPU, and how it keeps memory; on a fake, without one. */
class CudaBackendTest {
  @ParameterizedTest
  @CsvSource({"A100", "H100", "H20", "B200"})
  void thePlannerKnowsWhereAttentionKeepsItsProbabilities(String name) {
    dev.perigee.plan.Gpu known = dev.perigee.plan.Gpu.find(name).orElseThrow();
    for (Precision precision : Precision.values()) {
      Hardware hardware = one(known, precision);
      CudaBackend backend = new FakeGpu().backend(known.computeCapability(), precision, true);
      for (ModelConfig model : ModelPresets.all().values()) {
        AttentionShape shape =
            new AttentionShape(
                2,
                256,
                model.numAttentionHeads(),
                model.qkNopeHeadDim(),
                model.qkRopeHeadDim(),
                model.vHeadDim(),
                1);
        assertThat(hardware.keepsProbabilities(model))
            .as("%s, %s, heads of %d", name, precision, model.qkHeadDim())
            .isEqualTo(backend.attentionMemory(shape) == shape.probabilities());
      }
    }
  }

  /** Hidden widths and vocabularies at the edges of what the fused loss takes. */
  @ParameterizedTest
  @CsvSource({"64, 4096", "64, 4088", "64, 4100", "60, 4096", "64, 12288"})
  void thePlannerCountsWhatTheLossTakes(int hidden, int vocabulary) {
    ModelConfig model = Models.wide(hidden, vocabulary);
    int tokens = 2304; // more than the fused kernels take at a time
    for (String name : List.of("A100", "H100", "B200")) {
      dev.perigee.plan.Gpu known = dev.perigee.plan.Gpu.find(name).orElseThrow();
      for (Precision precision : Precision.values()) {
        Hardware hardware = one(known, precision);
        FakeGpu gpu = new FakeGpu();
        CudaBackend backend = gpu.backend(known.computeCapability(), precision, false);
        LossMemory planned = LossMemory.of(model, tokens, hardware);
        LossMemory taken = lossMemory(gpu, backend, tokens, hidden, vocabulary);
        String what = "%s, %s, %d words of %d".formatted(name, precision, vocabulary, hidden);
        assertThat(planned.fused()).as(what).isEqualTo(taken.fused());
        assertThat(planned.kept()).as("%s: kept", what).isEqualTo(taken.kept());
        // Besides, the losses of the tokens, and their numbers on the way to the device.
        assertThat(taken.working() - planned.working())
            .as("%s: working", what)
            .isBetween(0L, 64L * tokens);
      }
    }
  }

  /** One GPU as the planner knows it. */
  private static Hardware one(dev.perigee.plan.Gpu kind, Precision precision) {
    return new Hardware.Gpus(
        kind,
        1,
        precision == Precision.BF16 ? Hardware.Precision.BF16 : Hardware.Precision.FLOAT32);
  }

  /** Does what a model does at its end, and measures. */
  private static LossMemory lossMemory(
      FakeGpu gpu, CudaBackend backend, int tokens, int hidden, int vocabulary) {
    Tensor w_VH = backend.weights(vocabulary, hidden);
    Tensor dw_VH = backend.zeros(vocabulary, hidden);
    Tensor x_TH = backend.arena().take(tokens, hidden);
    Tensor dx_TH = backend.arena().take(tokens, hidden);
    Indices targets = Indices.of(new int[tokens]);
    long before = gpu.allocated();
    long kept = 0;
    boolean fused = backend.fusesLoss(x_TH, w_VH);
    if (fused) {
      backend.linearCrossEntropy(x_TH, w_VH, targets, 1, dx_TH, dw_VH, backend.sum());
    } else {
      Tensor logits_TV = backend.arena().takeFloats(tokens, vocabulary);
      kept = gpu.allocated() - before;
      backend.linear(x_TH, w_VH, logits_TV);
      backend.crossEntropy(logits_TV, targets, 1, backend.sum());
      backend.linearBackwardInput(logits_TV, w_VH, dx_TH, false);
      backend.linearBackwardWeight(logits_TV, x_TH, dw_VH);
    }
    return new LossMemory(fused, kept, gpu.allocated() - before - kept);
  }

  @ParameterizedTest
  @CsvSource({"FP32, true", "FP32, false", "BF16, true", "BF16, false"})
  void everyLaunchOfTrainingAndDecodingFitsItsKernelAndItsMemory(Precision precision, boolean tiled)
      throws Exception {
    FakeGpu gpu = new FakeGpu();
    List<ModelConfig> shapes =
        List.of(Models.tiny(), Models.groups(), Models.yarn(), Models.even(3), Models.wide());
    for (ModelConfig shape : shapes) {
      CudaBackend backend = gpu.backend(precision, tiled);
      Model model = Model.create(shape, backend, Collectives.solo());
      model.initialize(3);
      Fabric fabric = Fabric.local(1);
      Optimizer optimizer =
          new Optimizer(
              RunConfig.Optimizer.DEFAULT,
              model.parameters(),
              backend,
              fabric.groups(new Mesh(1, 1, 1, 1), 0));
      int[] ids = Models.ids(2 * 7, shape.vocabSize(), 5);
      int[] targets = ids.clone();
      targets[6] = -1;
      model.zeroGradients();
      model.forwardBackward(ids, targets, 2, 7, 1);
      assertThat(optimizer.reduceGradients()).isFinite();
      optimizer.update(1, 1e-3, 1, _ -> {});
      LatentCache cache = model.newCache(3, 4);
      model.step(new int[] {1, 2, 3}, cache, backend.zeros(3, shape.vocabSize()));
    }
    Set<String> launched = new TreeSet<>(gpu.kernels());
    for (String product : List.of("forward", "input_gradient", "weight_gradient_float32")) {
      assertThat(launched.contains("grouped_gemm/grouped_gemm_" + product))
          .as("the fast products of experts: %s", product)
          .isEqualTo(precision == Precision.BF16);
    }
    for (String fast :
        List.of(
            "mla_prefill/mla_prefill_forward",
            "mla_prefill/mla_prefill_dq",
            "mla_decode/mla_decode",
            "linear_cross_entropy/cross_entropy_logits",
            "newton_schulz/newton_schulz_symmetric_wide",
            "fused_norm/fused_norm_forward_2048",
            "fused_norm/fused_norm_backward_2048",
            "fused_rope/fused_rope",
            "swiglu/swiglu_backward",
            "grouped_gemm/grouped_gemm_swiglu",
            "dispatch/dispatch_rows_hopper",
            "dispatch/combine_rows",
            "rows/rows_combine_backward_bf16")) {
      assertThat(launched.contains(fast)).as(fast).isEqualTo(precision == Precision.BF16);
    }
    assertThat(gpu.products.isEmpty()).isEqualTo(tiled);
    if (precision == Precision.BF16 && tiled) {
      launched.addAll(fp32Only());
      assertThat(simpleKernels()).hasSizeGreaterThan(25).allMatch(launched::contains);
    }
  }

  /**
   * Forms of kernels that only the other precision uses; the case beside this one launches them.
   */
  private static List<String> fp32Only() {
    return List.of(
        "attention/attention_join_keys",
        "product/product_float",
        "rms_norm/rms_norm_backward_weight");
  }

  private static List<String> simpleKernels() throws Exception {
    return new KernelSources()
        .names().stream().filter(k -> FILES.contains(k.substring(0, k.indexOf('/')))).toList();
  }

  /** The files whose kernels this backend launches. */
  private static final Set<String> FILES =
      Set.of(
          "vector",
          "adamw",
          "columns",
          "rows",
          "rms_norm",
          "silu_gate",
          "rotate",
          "attention",
          "route",
          "cross_entropy",
          "product");

  @Test
  void numbersComeBackFromTheDeviceAsTheyWent() {
    CudaBackend backend = new FakeGpu().backend(Precision.FP32, true);
    float[] numbers = new float[3_000_001]; // several times the pinned memory
    for (int i = 0; i < numbers.length; i++) {
      numbers[i] = i;
    }
    Tensor x = backend.zeros(numbers.length);
    x.assign(Tensor.of(numbers, numbers.length));
    assertThat(x.onHost().floats()).isEqualTo(numbers);
    assertThat(x.slice(7, 2).onHost().floats()).containsExactly(7, 8);
    Tensor y = backend.zeros(2);
    backend.copy(x.slice(2_999_999, 2), y);
    assertThat(y.onHost().floats()).containsExactly(2_999_999, 3_000_000);
  }

  @Test
  void indicesOfManyOperationsDoNotRunIntoEachOther() {
    FakeGpu gpu = new FakeGpu();
    Staging staging = new Staging(gpu, gpu);
    for (int size : new int[] {1, 0, 300, 200_000, 5, 100_000, 900_000, 3}) {
      int[] values = new int[size];
      Arrays.setAll(values, i -> size + i);
      DeviceBuffer indices = staging.indices(values);
      int[] back = new int[size];
      staging.read(indices, back);
      assertThat(back).isEqualTo(values);
    }
  }

  @Test
  void memoryThatNoTensorRefersToIsUsedAgain() {
    FakeGpu gpu = new FakeGpu();
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    Tensor kept = backend.zeros(1000);
    kept.assign(Tensor.of(filled(1000, 5), 1000));
    gpu.capacity(gpu.allocated() + 3 * 4_000_000);
    for (int i = 0; i < 20; i++) {
      backend.zeros(1_000_000); // dropped at once
    }
    assertThat(kept.onHost().floats()).containsOnly(5);
    assertThatThrownBy(() -> backend.zeros(3_500_000))
        .isInstanceOf(OutOfDeviceMemoryException.class);
  }

  private static float[] filled(int n, float value) {
    float[] x = new float[n];
    Arrays.fill(x, value);
    return x;
  }

  @Test
  void whatIsWrongIsRefusedBeforeTheDeviceSeesIt() {
    FakeGpu gpu = new FakeGpu();
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    Tensor x = backend.zeros(4, 3);
    Tensor y = backend.zeros(4, 3);
    assertThatThrownBy(() -> backend.copy(Tensor.zeros(4, 3), x))
        .hasMessageContaining("Tensor[4, 3] is not on the device");
    assertThatThrownBy(() -> backend.add(x, backend.zeros(5))).hasMessageContaining("differ");
    assertThatThrownBy(() -> backend.matmul(1, x, false, y, false, 0, x))
        .hasMessageContaining("a product of Tensor[4, 3] and Tensor[4, 3]");
    assertThatThrownBy(() -> backend.embedding(Indices.of(0, 4), x, y))
        .hasMessageContaining("token 4 is not in the vocabulary of 4");
    assertThatThrownBy(() -> backend.crossEntropy(x, Indices.of(0, -1, 3, 1), 1, backend.sum()))
        .hasMessageContaining("target 3 is not in the vocabulary of 3");
  }

  @Test
  void cublasIsLookedForWhereTheLoaderAndTheToolkitHaveIt() {
    assertThat(Cublas.candidates(Map.of("CUDA_HOME", "/opt/cuda", "CUDA_PATH", " ")))
        .startsWith("libcublas.so.13", "libcublas.so.12", "libcublas.so")
        .contains("/opt/cuda/lib64/libcublas.so.12")
        .endsWith("/usr/local/cuda/lib64/libcublas.so")
        .hasSize(9);
  }
}
