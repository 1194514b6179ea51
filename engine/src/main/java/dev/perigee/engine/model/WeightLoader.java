package dev.perigee.engine.model;

import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Takes a rank's weights from a checkpoint of the whole model. */
final class WeightLoader {
  private static final Pattern EXPERT =
      Pattern.compile("mlp\\.experts\\.(\\d{1,9})\\.(gate|up|down)_proj\\.weight");
  private static final Pattern LAYER = Pattern.compile("model\\.layers\\.(\\d{1,9})\\.(.*)");

  /** What only a layer of multi-token prediction has (DeepSeek-V3, equation 21). */
  private static final String PREDICTION = "eh_proj.weight";

  private final ModelConfig config;

  WeightLoader(ModelConfig config) {
    this.config = config;
  }

  /** See {@link Model#load}. */
  void load(Safetensors weights, List<Parameter> parameters, Map<String, Tensor> buffers)
      throws IOException {
    List<String> differences = new ArrayList<>();
    Set<String> known = new HashSet<>();
    for (Parameter p : parameters) {
      compare(weights, p.name(), p.value(), differences);
      known.add(p.name());
    }
    for (Map.Entry<String, Tensor> b : buffers.entrySet()) {
      compare(weights, b.getKey(), b.getValue(), differences);
      known.add(b.getKey());
    }
    Set<Integer> layers = new HashSet<>();
    known.forEach(name -> layers.add(layer(name)));
    for (String name : new TreeSet<>(weights.names())) {
      if (!known.contains(name) && !belongsElsewhere(weights, name, layers)) {
        differences.add(name + " is not in the model");
      }
    }
    if (!differences.isEmpty()) {
      throw new WeightMismatchException(weights.path(), differences);
    }
    for (Parameter p : parameters) {
      weights.readFinite(p.name(), p.value());
    }
    for (Map.Entry<String, Tensor> b : buffers.entrySet()) {
      weights.readFinite(b.getKey(), b.getValue());
    }
  }

  private static void compare(
      Safetensors weights, String name, Tensor expected, List<String> differences) {
    if (!weights.contains(name)) {
      differences.add(name + " is missing");
    } else if (!Arrays.equals(weights.shape(name), expected.shape())) {
      differences.add(
          "%s has shape %s, the model's is %s"
              .formatted(
                  name, Arrays.toString(weights.shape(name)), Arrays.toString(expected.shape())));
    }
  }

  /** The layer that a name belongs to, −1 for none. */
  private static int layer(String name) {
    Matcher layer = LAYER.matcher(name);
    return layer.matches() ? Integer.parseInt(layer.group(1)) : -1;
  }

  /**
   * Another rank's expert, a layer of another stage, DeepSeek's multi-token prediction after the
   * last layer, or a tensor that is computed or shared. Other layers after the last are not taken
   * for granted: a config that names too few layers would give a model that is silently shorter.
   *
   * @param layers those that this rank holds
   */
  private boolean belongsElsewhere(Safetensors weights, String name, Set<Integer> layers) {
    Matcher inLayer = LAYER.matcher(name);
    if (inLayer.matches()) {
      int layer = Integer.parseInt(inLayer.group(1));
      if (layer >= config.numHiddenLayers()) {
        return weights.contains("model.layers." + inLayer.group(1) + "." + PREDICTION);
      }
      if (!layers.contains(layer)) {
        return true;
      }
      Matcher expert = EXPERT.matcher(inLayer.group(2));
      return (expert.matches()
              && config.isMoeLayer(layer)
              && Integer.parseInt(expert.group(1)) < config.nRoutedExperts())
          || name.endsWith("rotary_emb.inv_freq");
    }
    return switch (name) {
      case Model.EMBEDDING, Model.FINAL_NORM, Model.HEAD -> true;
      default -> name.endsWith("rotary_emb.inv_freq");
    };
  }
}
