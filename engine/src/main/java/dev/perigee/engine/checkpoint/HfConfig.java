package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.run.ModelConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * Hugging Face's {@code config.json} of a DeepSeek-V3 or Kimi-K2 model.
 *
 * @param model the model's shape
 * @param bosTokenId the token that begins a text, null when not given
 * @param eosTokenId the (first) token that ends one, null when not given
 */
public record HfConfig(ModelConfig model, Integer bosTokenId, Integer eosTokenId) {
  /** Its name in a checkpoint folder. */
  public static final String FILE = "config.json";

  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  /** A name such as {@code hiddenSize}. */
  private static final Pattern MANIFEST_NAME = Pattern.compile("\\b[a-z]+(?:[A-Z][a-z]*)+\\b");

  /**
   * Reads the file, in the spelling of transformers 4 ({@code rope_theta}, {@code rope_scaling}) or
   * 5 ({@code rope_parameters}).
   *
   * @throws NoSuchFileException when there is none
   * @throws CheckpointFormatException when a field is missing, of the wrong type, or asks for
   *     something that the engine does not compute; the message names every such field
   */
  public static HfConfig read(Path file) throws IOException {
    if (!Files.exists(file)) {
      throw new NoSuchFileException(
          file.toString(), null, "a checkpoint folder in Hugging Face layout holds " + FILE);
    }
    if (!Files.isRegularFile(file)) {
      throw new CheckpointFormatException(file, "expected a file");
    }
    byte[] text = Files.readAllBytes(file);
    JsonNode root;
    try {
      root = JSON.readTree(text);
    } catch (JsonProcessingException e) {
      throw new CheckpointFormatException(file, "not JSON: " + e.getOriginalMessage(), e);
    } catch (IOException e) { // of bytes that Jackson takes for UTF-32
      throw new CheckpointFormatException(file, "not JSON: " + e.getMessage(), e);
    }
    if (root == null || !root.isObject()) {
      throw new CheckpointFormatException(file, "expected a JSON object");
    }
    Reader in = new Reader(root, new ArrayList<>());
    in.supported();
    ModelConfig model = in.model();
    if (in.problems.isEmpty()) {
      model.problems().stream().map(HfConfig::asInTheFile).forEach(in.problems::add);
    }
    if (!in.problems.isEmpty()) {
      throw new CheckpointFormatException(file, String.join("; ", in.problems));
    }
    JsonNode eos = root.path("eos_token_id");
    JsonNode firstEos = eos.isArray() && !eos.isEmpty() ? eos.get(0) : eos;
    JsonNode bos = root.path("bos_token_id");
    return new HfConfig(
        model,
        bos.isInt() ? (Integer) bos.intValue() : null,
        firstEos.isInt() ? (Integer) firstEos.intValue() : null);
  }

  /** A problem with the fields' names of {@code config.json}, not those of a manifest. */
  private static String asInTheFile(String problem) {
    return MANIFEST_NAME
        .matcher(problem.replace("model.", ""))
        .replaceAll(name -> name.group().replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT));
  }

  /** What another one says otherwise, one line for each field of the file. */
  List<String> changes(HfConfig now) {
    List<String> found = new ArrayList<>();
    ObjectNode then = json();
    for (Map.Entry<String, JsonNode> field : now.json().properties()) {
      JsonNode was = then.get(field.getKey());
      if (!field.getValue().equals(was)) {
        found.add(
            "%s of %s is %s now and was %s: another model goes on from these weights"
                .formatted(field.getKey(), FILE, field.getValue(), was));
      }
    }
    return found;
  }

  /** The file's text, in the spelling that transformers 4 and 5 both read. */
  public String toJson() {
    return json().toPrettyString() + "\n";
  }

  private ObjectNode json() {
    ModelConfig m = model;
    ObjectNode o = JSON.createObjectNode();
    o.putArray("architectures").add("DeepseekV3ForCausalLM");
    o.put("model_type", "deepseek_v3");
    o.put("vocab_size", m.vocabSize());
    o.put("hidden_size", m.hiddenSize());
    o.put("intermediate_size", m.intermediateSize());
    o.put("moe_intermediate_size", m.moeIntermediateSize());
    o.put("num_hidden_layers", m.numHiddenLayers());
    // transformers has no model without experts; a dense one replaces every layer.
    boolean dense = m.nRoutedExperts() == 0;
    o.put("first_k_dense_replace", dense ? m.numHiddenLayers() : m.firstKDenseReplace());
    o.put("moe_layer_freq", 1);
    o.put("num_attention_heads", m.numAttentionHeads());
    o.put("num_key_value_heads", m.numAttentionHeads());
    o.put("q_lora_rank", m.qLoraRank() == 0 ? null : (Integer) m.qLoraRank());
    o.put("kv_lora_rank", m.kvLoraRank());
    o.put("qk_nope_head_dim", m.qkNopeHeadDim());
    o.put("qk_rope_head_dim", m.qkRopeHeadDim());
    o.put("v_head_dim", m.vHeadDim());
    o.put("n_routed_experts", dense ? null : (Integer) m.nRoutedExperts());
    o.put("num_experts_per_tok", m.numExpertsPerTok());
    o.put("n_shared_experts", m.nSharedExperts() == 0 ? null : (Integer) m.nSharedExperts());
    o.put("n_group", m.nGroup());
    o.put("topk_group", m.topkGroup());
    o.put("topk_method", "noaux_tc");
    o.put("scoring_func", "sigmoid");
    o.put("norm_topk_prob", m.normTopkProb());
    o.put("routed_scaling_factor", m.routedScalingFactor());
    o.put("num_nextn_predict_layers", 0);
    o.put("rope_theta", m.ropeTheta());
    o.put("rope_interleave", true);
    if (m.ropeScaling() == null) {
      o.putNull("rope_scaling");
    } else {
      ModelConfig.Yarn y = m.ropeScaling();
      o.putObject("rope_scaling")
          .put("type", "yarn")
          .put("rope_type", "yarn")
          .put("factor", y.factor())
          .put("original_max_position_embeddings", y.originalMaxPositionEmbeddings())
          .put("beta_fast", y.betaFast())
          .put("beta_slow", y.betaSlow())
          .put("mscale", y.mscale())
          .put("mscale_all_dim", y.mscaleAllDim());
    }
    o.put("max_position_embeddings", m.maxPositionEmbeddings());
    o.put("rms_norm_eps", m.rmsNormEps());
    o.put("initializer_range", m.initializerRange());
    o.put("hidden_act", "silu");
    o.put("attention_bias", false);
    o.put("attention_dropout", 0.0);
    o.put("tie_word_embeddings", m.tieWordEmbeddings());
    o.put("torch_dtype", "float32");
    o.put("use_cache", true);
    o.put("bos_token_id", bosTokenId);
    o.put("eos_token_id", eosTokenId);
    return o;
  }

  /** Picks fields, noting what is wrong with each instead of stopping at the first. */
  private record Reader(JsonNode root, List<String> problems) {

    /** Notes everything that asks for another computation than the engine's. */
    void supported() {
      expect("model_type", root.path("model_type"), "deepseek_v3", "kimi_k2");
      expectIfGiven("hidden_act", "silu");
      expectIfGiven("scoring_func", "sigmoid");
      expectIfGiven("topk_method", "noaux_tc");
      expectIfGiven("attention_bias", "false");
      expectIfGiven("rope_interleave", "true");
      expectIfGiven("moe_layer_freq", "1");
      JsonNode dropout = root.path("attention_dropout");
      if (!absent(dropout) && !(dropout.isNumber() && dropout.doubleValue() == 0)) {
        problems.add("attention_dropout: " + dropout + "; expected 0");
      }
      if (root.hasNonNull("quantization_config")) {
        problems.add(
            "quantization_config: quantized weights are not supported; convert them to BF16");
      }
      JsonNode kv = root.path("num_key_value_heads");
      if (kv.isInt() && kv.intValue() != root.path("num_attention_heads").asInt()) {
        problems.add(
            "num_key_value_heads: " + kv + "; expected num_attention_heads, as MLA has no groups");
      }
    }

    ModelConfig model() {
      boolean dense = absent(root.path("n_routed_experts"));
      boolean five = root.hasNonNull("rope_parameters");
      JsonNode rope = five ? root.get("rope_parameters") : root;
      JsonNode scaling = five ? rope : root.path("rope_scaling");
      return new ModelConfig(
          whole("vocab_size"),
          whole("hidden_size"),
          whole("intermediate_size"),
          dense ? 0 : whole("moe_intermediate_size"),
          whole("num_hidden_layers"),
          dense ? whole("num_hidden_layers") : whole("first_k_dense_replace"),
          whole("num_attention_heads"),
          absent(root.path("q_lora_rank")) ? 0 : whole("q_lora_rank"),
          whole("kv_lora_rank"),
          whole("qk_nope_head_dim"),
          whole("qk_rope_head_dim"),
          whole("v_head_dim"),
          dense ? 0 : whole("n_routed_experts"),
          dense ? 0 : whole("num_experts_per_tok"),
          absent(root.path("n_shared_experts")) ? 0 : whole("n_shared_experts"),
          dense ? 1 : whole("n_group"),
          dense ? 1 : whole("topk_group"),
          dense ? 1 : number(root, "", "routed_scaling_factor"),
          flag(root, "", "norm_topk_prob", true),
          number(rope, five ? "rope_parameters." : "", "rope_theta"),
          yarn(scaling),
          whole("max_position_embeddings"),
          number(root, "", "rms_norm_eps"),
          numberOr(root, "", "initializer_range", 0.02),
          flag(root, "", "tie_word_embeddings", false));
    }

    private ModelConfig.Yarn yarn(JsonNode scaling) {
      if (!absent(scaling) && !scaling.isObject()) {
        problems.add("rope_scaling: " + scaling + "; expected an object or null");
        return null;
      }
      String type = scaling.path("rope_type").asText(scaling.path("type").asText("default"));
      if (absent(scaling) || type.equals("default")) {
        return null;
      }
      if (!type.equals("yarn")) {
        problems.add("rope_scaling.type: " + type + "; expected yarn or default");
        return null;
      }
      if (scaling.hasNonNull("attention_factor")) {
        problems.add("rope_scaling.attention_factor: not supported; use mscale, mscale_all_dim");
      }
      if (!flag(scaling, "rope_scaling.", "truncate", true)) {
        problems.add("rope_scaling.truncate: false; expected true");
      }
      JsonNode original = scaling.path("original_max_position_embeddings");
      if (!original.isInt()) {
        problems.add(
            "rope_scaling.original_max_position_embeddings: " + original + "; expected a number");
      }
      // Absent: DeepSeek's defaults, which give the same factors as transformers' rules.
      return new ModelConfig.Yarn(
          number(scaling, "rope_scaling.", "factor"),
          original.asInt(),
          numberOr(scaling, "rope_scaling.", "beta_fast", 32),
          numberOr(scaling, "rope_scaling.", "beta_slow", 1),
          numberOr(scaling, "rope_scaling.", "mscale", 1),
          numberOr(scaling, "rope_scaling.", "mscale_all_dim", 0));
    }

    private void expectIfGiven(String field, String value) {
      if (!absent(root.path(field))) {
        expect(field, root.get(field), value);
      }
    }

    private void expect(String field, JsonNode found, String... values) {
      if (!List.of(values).contains(found.asText())) {
        problems.add(
            field
                + ": "
                + (absent(found) ? "missing" : found)
                + "; expected "
                + String.join(" or ", values));
      }
    }

    private int whole(String field) {
      JsonNode n = root.path(field);
      if (!n.isInt()) {
        problems.add(field + ": " + (absent(n) ? "missing" : n) + "; expected a whole number");
      }
      return n.asInt();
    }

    private double number(JsonNode in, String at, String field) {
      JsonNode n = in.path(field);
      if (!n.isNumber()) {
        problems.add(at + field + ": " + (absent(n) ? "missing" : n) + "; expected a number");
      }
      return n.asDouble();
    }

    private double numberOr(JsonNode in, String at, String field, double absent) {
      return absent(in.path(field)) ? absent : number(in, at, field);
    }

    private boolean flag(JsonNode in, String at, String field, boolean absent) {
      JsonNode n = in.path(field);
      if (!absent(n) && !n.isBoolean()) {
        problems.add(at + field + ": " + n + "; expected true or false");
      }
      return n.isBoolean() ? n.booleanValue() : absent;
    }

    private static boolean absent(JsonNode n) {
      return n.isMissingNode() || n.isNull();
    }
  }
}
