package dev.perigee.engine.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.engine.Shared;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HfConfigTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(strings = {"quickstart", "moonlight-16b-a3b", "deepseek-v3", "kimi-k2"})
  void everyPresetIsReadBackAsItWasWritten(String preset) throws IOException {
    HfConfig written = new HfConfig(ModelPresets.find(preset).orElseThrow(), 256, 257);
    assertThat(read(written.toJson())).isEqualTo(written);
  }

  @Test
  void transformersFiveSpellsRopeInOneObject() throws IOException {
    ObjectNode o = kimi();
    ObjectNode rope = o.putObject("rope_parameters");
    rope.setAll((ObjectNode) o.remove("rope_scaling"));
    rope.set("rope_theta", o.remove("rope_theta"));
    assertThat(read(o.toString()).model()).isEqualTo(ModelPresets.find("kimi-k2").orElseThrow());
  }

  @Test
  void ropeOfTypeDefaultIsNoScaling() throws IOException {
    ObjectNode o = kimi();
    o.putObject("rope_parameters").put("rope_theta", 50_000).put("rope_type", "default");
    o.remove("rope_theta");
    o.remove("rope_scaling");
    ModelConfig model = read(o.toString()).model();
    assertThat(model.ropeScaling()).isNull();
    assertThat(model.ropeTheta()).isEqualTo(50_000);
  }

  /** What would otherwise be counted through, or run out of memory, before anything is said. */
  @Test
  void numbersThatNoModelHasAreRefusedAsInAManifest() {
    ObjectNode o = kimi();
    o.put("num_hidden_layers", Integer.MAX_VALUE).put("n_routed_experts", 65_537).put("n_group", 1);
    assertThatThrownBy(() -> read(o.toString()))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("num_hidden_layers: 2147483647; expected 1 to 10000")
        .hasMessageContaining("n_routed_experts: 65537; expected 0 to 65536");
  }

  @Test
  void bytesThatAreNoTextAreNotJson() throws IOException {
    Path file = folder.resolve(HfConfig.FILE);
    Files.write(file, new byte[] {0, 0, 0, '{', 1, 2, 3, 4, 5, 6, 7, 8});
    assertThatThrownBy(() -> HfConfig.read(file))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageStartingWith(file + ": not JSON: ");
  }

  @Test
  void nullsMeanNoSharedExpertsAndFullQueries() throws IOException {
    ObjectNode o = kimi();
    o.putNull("n_shared_experts").putNull("q_lora_rank");
    ModelConfig model = read(o.put("model_type", "kimi_k2").toString()).model();
    assertThat(model.nSharedExperts()).isZero();
    assertThat(model.qLoraRank()).isZero();
  }

  @Test
  void theFixturesOfPyTorchAreRead() throws IOException {
    ModelConfig groups =
        HfConfig.read(Shared.path("fixtures/hf-groups").resolve("config.json")).model();
    assertThat(groups.nGroup()).isEqualTo(4);
    assertThat(groups.qLoraRank()).isZero();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          model_type           | "llama"      | model_type: "llama"; expected deepseek_v3 or kimi_k2
          hidden_act           | "gelu"       | hidden_act: "gelu"; expected silu
          scoring_func         | "softmax"    | scoring_func: "softmax"; expected sigmoid
          topk_method          | "greedy"     | topk_method: "greedy"; expected noaux_tc
          attention_bias       | true         | attention_bias: true; expected false
          rope_interleave      | false        | rope_interleave: false; expected true
          moe_layer_freq       | 2            | moe_layer_freq: 2; expected 1
          attention_dropout    | 0.1          | attention_dropout: 0.1; expected 0
          num_key_value_heads  | 8            | num_key_value_heads: 8; expected num_attention_heads
          quantization_config  | {"bits":8}   | quantization_config: quantized weights are not supported
          hidden_size          | "wide"       | hidden_size: "wide"; expected a whole number
          kv_lora_rank         | null         | kv_lora_rank: missing; expected a whole number
          rms_norm_eps         | null         | rms_norm_eps: missing; expected a number
          rope_scaling         | {"type":"linear","factor":2} | rope_scaling.type: linear; expected yarn or default
          attention_dropout    | "none"       | attention_dropout: "none"; expected 0
          norm_topk_prob       | "maybe"      | norm_topk_prob: "maybe"; expected true or false
          tie_word_embeddings  | 1            | tie_word_embeddings: 1; expected true or false
          initializer_range    | "0.02"       | initializer_range: "0.02"; expected a number
          rope_scaling         | "yarn"       | rope_scaling: "yarn"; expected an object or null
          rope_scaling         | {"type":"yarn","factor":2,"original_max_position_embeddings":64,"beta_fast":"x"} | rope_scaling.beta_fast: "x"; expected a number
          vocab_size           | 2147483647   | vocab_size × hidden_size: 15393162781696 numbers; expected at most 2147483647 in one matrix
          n_routed_experts     | 2147483646   | n_routed_experts: 2147483646; expected 0 to 65536
          routed_scaling_factor | 1e308       | routed_scaling_factor: 1.0E308; expected more than 0 and at most 1000000
          routed_scaling_factor | 0           | routed_scaling_factor: 0.0; expected more than 0 and at most 1000000
          rope_scaling         | {"type":"yarn","factor":1e300,"original_max_position_embeddings":64} | rope_scaling.factor: 1.0E300; expected 1 to 1000000
          qk_rope_head_dim     | 63           | qk_rope_head_dim: 63; expected an even number
          """)
  void whatIsNotSupportedIsRefusedByName(String field, String value, String fault)
      throws IOException {
    ObjectNode o = kimi();
    o.set(field, JSON.readTree(value));
    assertThatThrownBy(() -> read(o.toString()))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining(folder.resolve("config.json") + ": " + fault);
  }

  @Test
  void everyFaultIsNamedAtOnce() {
    ObjectNode o = kimi();
    o.put("hidden_act", "relu").remove("vocab_size");
    assertThatThrownBy(() -> read(o.toString()))
        .hasMessageContaining("hidden_act")
        .hasMessageContaining("vocab_size: missing");
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "[]", "7", "{} {}", "{\"vocab_size\": 1, \"vocab_size\": 2}"})
  void whatIsNoObjectIsRefused(String text) {
    assertThatThrownBy(() -> read(text)).isInstanceOf(CheckpointFormatException.class);
  }

  private static ObjectNode kimi() {
    try {
      HfConfig kimi = new HfConfig(ModelPresets.find("kimi-k2").orElseThrow(), null, null);
      return (ObjectNode) JSON.readTree(kimi.toJson());
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private HfConfig read(String text) throws IOException {
    return HfConfig.read(Files.writeString(folder.resolve("config.json"), text));
  }
}
