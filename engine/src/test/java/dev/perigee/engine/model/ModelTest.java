package dev.perigee.engine.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.checkpoint.SafetensorsWriter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ModelTest {
  @TempDir Path folder;

  @Test
  void theParametersAreThoseThatTheShapePromises() {
    for (ModelConfig config : new ModelConfig[] {Models.tiny(), Models.groups(), Models.yarn()}) {
      Model model = Models.random(config);
      long n = 0;
      Set<String> names = new HashSet<>();
      for (Parameter p : model.parameters()) {
        n += p.value().size();
        assertThat(names.add(p.name())).as(p.name()).isTrue();
      }
      for (Tensor b : model.buffers().values()) {
        n += b.size();
      }
      assertThat(n).isEqualTo(config.totalParameters());
    }
  }

  @Test
  void muonGetsTheMatricesInsideAndAdamTheRest() {
    for (Parameter p : Models.random(Models.tiny()).parameters()) {
      boolean outside =
          p.name().contains("norm")
              || p.name().equals("lm_head.weight")
              || p.name().equals("model.embed_tokens.weight");
      assertThat(p.rule())
          .as(p.name())
          .isEqualTo(outside ? Parameter.Rule.ELEMENTWISE : Parameter.Rule.MATRIX);
      assertThat(p.sharing())
          .as(p.name())
          .isEqualTo(
              p.name().contains(".experts.") ? Parameter.Sharing.EXPERT : Parameter.Sharing.DENSE);
    }
  }

  @Test
  void theFlatGradientsAreThoseOfTheParameters() {
    Model model = Models.random(Models.tiny());
    for (Parameter p : model.parameters()) {
      for (int i = 0; i < p.gradient().size(); i++) {
        p.gradient().floats()[p.gradient().offset() + i] = 1;
      }
    }
    long ones = 0;
    for (Parameter.Sharing sharing : Parameter.Sharing.values()) {
      for (Tensor flat : model.gradients(sharing)) {
        for (int i = 0; i < flat.size(); i++) {
          assertThat(flat.floats()[flat.offset() + i]).isEqualTo(1);
          ones++;
        }
      }
    }
    assertThat(ones)
        .isEqualTo(model.parameters().stream().mapToLong(p -> p.gradient().size()).sum());
    model.zeroGradients();
    assertThat(model.parameter("lm_head.weight").gradient().floats()).containsOnly(0);
  }

  @Test
  void randomWeightsDependOnSeedAndNameAndHaveTheirDeviation() {
    ModelConfig config = Models.tiny();
    Model one = Models.random(config);
    Model two = Models.random(config);
    assertThat(flat(one)).isEqualTo(flat(two));
    two.initialize(8);
    assertThat(flat(one)).isNotEqualTo(flat(two));
    Tensor embedding = one.parameter("model.embed_tokens.weight").value();
    double squares = 0;
    for (int i = 0; i < embedding.size(); i++) {
      squares += Math.pow(embedding.floats()[embedding.offset() + i], 2);
    }
    assertThat(Math.sqrt(squares / embedding.size())).isCloseTo(0.3, within(0.03));
  }

  @Test
  void twoPassesOverTheSameBatchAreBitwiseEqual() {
    int[] ids = Models.ids(24, 23, 1);
    int[] targets = Models.ids(24, 23, 2);
    Model one = Models.random(Models.tiny());
    Model two = Models.random(Models.tiny());
    double loss = one.forwardBackward(ids, targets, 3, 8, 1);
    assertThat(two.forwardBackward(ids, targets, 3, 8, 1)).isEqualTo(loss);
    for (int i = 0; i < one.parameters().size(); i++) {
      assertThat(two.parameters().get(i).gradient().floats())
          .isEqualTo(one.parameters().get(i).gradient().floats());
    }
  }

  @Test
  void gradientsAddUpOverMicroBatches() {
    int[] ids = Models.ids(16, 23, 1);
    Model model = Models.random(Models.tiny());
    model.forwardBackward(ids, ids, 2, 8, 0.25);
    Tensor g = model.parameter("lm_head.weight").gradient();
    float[] once = g.floats().clone();
    model.forwardBackward(ids, ids, 2, 8, 0.25);
    for (int i = g.offset(); i < g.offset() + g.size(); i++) {
      assertThat(g.floats()[i]).isCloseTo(2 * once[i], within(1e-5f));
    }
  }

  @Test
  void savedWeightsAreLoadedBitForBit() throws IOException {
    Model saved = Models.random(Models.tiny());
    saved.buffers().values().forEach(b -> b.floats()[b.offset() + 1] = 0.5f);
    save(saved, Map.of());
    Model loaded = Models.random(Models.tiny());
    loaded.initialize(99);
    loaded.load(Safetensors.open(folder));
    assertThat(flat(loaded)).isEqualTo(flat(saved));
    int[] ids = Models.ids(8, 23, 1);
    assertThat(loaded.logits(ids, 1, 8).floats()).isEqualTo(saved.logits(ids, 1, 8).floats());
  }

  @Test
  void aCheckpointOfAnotherShapeIsRefusedAndNothingChanges() throws IOException {
    Model saved = Models.random(Models.tiny());
    Map<String, Tensor> changed = new LinkedHashMap<>();
    changed.put("lm_head.weight", Tensor.zeros(23, 19));
    changed.put("model.layers.1.mlp.gate.e_score_correction_bias", null);
    changed.put("surprise", Tensor.zeros(1));
    changed.put("model.layers.3.eh_proj.weight", Tensor.zeros(1)); // predicts a second token
    changed.put("model.layers.3.anything", Tensor.zeros(1)); // beyond the last layer: not ours
    changed.put("model.layers.4.anything", Tensor.zeros(1)); // forgotten by the config
    changed.put("model.layers.99999999999.anything", Tensor.zeros(1));
    save(saved, changed);
    Model model = Models.random(Models.tiny());
    String before = flat(model);
    assertThatThrownBy(() -> model.load(Safetensors.open(folder)))
        .isInstanceOf(WeightMismatchException.class)
        .hasMessageContaining("lm_head.weight has shape [23, 19], the model's is [23, 18]")
        .hasMessageContaining("model.layers.1.mlp.gate.e_score_correction_bias is missing")
        .hasMessageContaining("surprise is not in the model")
        .hasMessageContaining("model.layers.4.anything is not in the model")
        .hasMessageContaining("model.layers.99999999999.anything is not in the model")
        .hasMessageNotContaining("model.layers.3");
    assertThat(flat(model)).isEqualTo(before);
  }

  @Test
  void aShapeThatCannotBeIsRefused() {
    ModelConfig c = Models.tiny();
    try (Fabric fabric = Fabric.local(3)) {
      Collectives three = fabric.collectives(0, List.of(0, 1, 2));
      assertThatThrownBy(() -> Model.create(c, new CpuBackend(), three))
          .hasMessage("8 routed experts do not divide over 3 ranks");
    }
  }

  @Test
  void evaluationHoldsTheLogitsOfFewTokensAtATime() {
    ModelConfig narrow =
        new ModelConfig(
            4096, 18, 21, 7, 2, 1, 3, 11, 9, 5, 4, 6, 8, 2, 1, 1, 1, 1.7, true, 10_000, null, 64,
            1e-6, 0.3, false);
    Model model = Models.random(narrow);
    int[] ids = Models.ids(6144, 4096, 1);
    int[] targets = Models.ids(6144, 4096, 2);
    double whole = model.forwardLoss(ids, targets, 6144 / 16, 16);
    double parts = 0;
    for (int at = 0; at < ids.length; at += 512) {
      parts +=
          model.forwardLoss(
              Arrays.copyOfRange(ids, at, at + 512),
              Arrays.copyOfRange(targets, at, at + 512),
              512 / 16,
              16);
    }
    assertThat(whole).isCloseTo(parts, within(1e-6 * parts));
    assertThat(model.backend().arena().peakBytes()).isLessThan(4L * ids.length * 4096);
  }

  @Test
  void theLargestLogitOfAHeadIsRecordedUntilReset() {
    Model model = Models.random(Models.tiny());
    int[] ids = Models.ids(16, 23, 1);
    assertThat(model.statistics().maxLogit()[0][0]).isEqualTo(Float.NEGATIVE_INFINITY);
    model.forwardLoss(ids, ids, 2, 8); // evaluation does not count
    assertThat(model.statistics().maxLogit()[0][0]).isEqualTo(Float.NEGATIVE_INFINITY);
    model.forwardBackward(ids, ids, 2, 8, 1);
    float[][] max = model.statistics().maxLogit();
    assertThat(max).hasDimensions(3, 3);
    assertThat(max[2][2]).isFinite();
    assertThat(model.statistics().tokensPerExpert()).hasDimensions(2, 8);
    long tokens = 0;
    for (long n : model.statistics().tokensPerExpert()[1]) {
      tokens += n;
    }
    assertThat(tokens).isEqualTo(2 * 16);
    model.resetStatistics();
    assertThat(model.statistics().maxLogit()[2][2]).isEqualTo(Float.NEGATIVE_INFINITY);
  }

  @Test
  void anotherNumberOfTokensThanBatchTimesLengthIsRefused() {
    Model model = Models.random(Models.tiny());
    assertThatThrownBy(() -> model.logits(new int[7], 2, 4))
        .hasMessage("7 tokens for 2 sequences of 4");
  }

  private void save(Model model, Map<String, Tensor> changed) throws IOException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    model.parameters().forEach(p -> tensors.put(p.name(), p.value()));
    tensors.putAll(model.buffers());
    changed.forEach(
        (name, tensor) -> {
          tensors.remove(name);
          if (tensor != null) {
            tensors.put(name, tensor);
          }
        });
    SafetensorsWriter.write(folder.resolve(Safetensors.SINGLE), tensors, Map.of());
  }

  /** Every weight as text: equal when bit for bit equal. */
  private static String flat(Model model) {
    StringBuilder text = new StringBuilder();
    for (Parameter p : model.parameters()) {
      for (int i = 0; i < p.value().size(); i++) {
        text.append(Float.floatToRawIntBits(p.value().floats()[p.value().offset() + i]));
      }
    }
    return text.toString();
  }
}
