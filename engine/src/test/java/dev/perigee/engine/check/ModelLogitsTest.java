package dev.perigee.engine.check;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.checkpoint.CheckpointFormatException;
import dev.perigee.engine.checkpoint.HfConfig;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.checkpoint.SafetensorsWriter;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Models;
import dev.perigee.engine.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ModelLogitsTest {
  @TempDir Path folder;
  private final Model model = Models.random(Models.tiny());

  @BeforeEach
  void saveTheModel() throws IOException {
    Files.writeString(
        folder.resolve(HfConfig.FILE), new HfConfig(model.config(), null, null).toJson());
    Map<String, Tensor> tensors = new TreeMap<>(model.buffers());
    model.parameters().forEach(p -> tensors.put(p.name(), p.value()));
    SafetensorsWriter.write(folder.resolve(Safetensors.SINGLE), tensors, Map.of());
  }

  @Test
  void theLogitsOfTheGivenTokensAreWritten() throws IOException {
    Path ids = folder.resolve("ids.safetensors");
    Path out = folder.resolve("logits.safetensors");
    SafetensorsWriter.writeWhole(ids, "input_ids", new long[] {1, 2, 3, 4, 5, 6}, 2, 3);
    assertThat(ModelLogits.write(folder, ids, out)).containsExactly(2, 3, 23);
    Safetensors written = Safetensors.open(out);
    assertThat(written.shape("logits")).containsExactly(2, 3, 23);
    assertThat(written.read("logits").floats())
        .isEqualTo(model.logits(new int[] {1, 2, 3, 4, 5, 6}, 2, 3).floats());
  }

  @Test
  void tokensThatTheModelDoesNotKnowAreRefused() throws IOException {
    Path ids = folder.resolve("ids.safetensors");
    SafetensorsWriter.writeWhole(ids, "input_ids", new long[] {1, 23}, 1, 2);
    assertThatThrownBy(() -> ModelLogits.write(folder, ids, folder.resolve("out")))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("input_ids holds token 23; the model's vocabulary is 23");
    SafetensorsWriter.writeWhole(ids, "tokens", new long[] {1}, 1, 1);
    assertThatThrownBy(() -> ModelLogits.write(folder, ids, folder.resolve("out")))
        .hasMessageContaining("holds no input_ids, I64 [B, T]");
  }

  /** One such number makes every logit NaN, or ends in the router, where nobody knows its name. */
  @Test
  void aWeightThatIsNoNumberIsNamed() throws IOException {
    for (float broken : new float[] {Float.NaN, Float.NEGATIVE_INFINITY}) {
      Tensor norm = model.parameters().getLast().value();
      String name = model.parameters().getLast().name();
      norm.floats()[norm.offset() + 3] = broken;
      saveTheModel();
      assertThatThrownBy(() -> ModelCheck.run(folder))
          .isInstanceOf(CheckpointFormatException.class)
          .hasMessage(
              "%s: tensor %s: number 3 is %s; expected finite ones"
                  .formatted(folder.resolve(Safetensors.SINGLE), name, broken));
    }
  }

  @Test
  void moreLayersThanTheWeightsHaveAreRefusedBeforeMemoryIsTaken() throws IOException {
    Path config = folder.resolve(HfConfig.FILE);
    String claim = "\"num_hidden_layers\" : ";
    String text = Files.readString(config);
    assertThat(text).contains(claim);
    Files.writeString(config, text.replaceFirst(claim + "\\d+", claim + "10000"));
    assertThatThrownBy(() -> ModelCheck.run(folder))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessage(
            config
                + ": num_hidden_layers: 10000; "
                + folder.resolve(Safetensors.SINGLE)
                + " holds no layer 9999");
  }

  @Test
  void aFolderWithoutNumbersToCompareWithSaysSoAndPasses() throws IOException {
    List<CheckRow> rows = ModelCheck.run(folder);
    assertThat(rows).isNotEmpty().noneMatch(CheckRow::present).allMatch(CheckRow::passes);
  }

  @Test
  void aFigureBeyondItsToleranceOrNotANumberFails() {
    assertThat(new CheckRow("logits", Double.NaN, 1e-4).passes()).isFalse();
    assertThat(new CheckRow("logits", 2e-4, 1e-4).passes()).isFalse();
    assertThat(new CheckRow("logits", 1e-4, 1e-4).passes()).isTrue();
    Tensor expected = Tensor.of(new float[] {3, 4}, 2);
    assertThat(CheckRow.relative(Tensor.of(new float[] {3, 5}, 2), expected)).isEqualTo(0.2);
  }
}
