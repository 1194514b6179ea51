package dev.perigee.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.LongNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.databind.node.TextNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import com.fasterxml.jackson.dataformat.yaml.YAMLGenerator;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import io.fabric8.crd.generator.annotation.AdditionalPrinterColumn;
import io.fabric8.crdv2.generator.CRDGenerator;
import io.fabric8.crdv2.generator.CRDPostProcessor;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.api.model.apiextensions.v1.JSONSchemaProps;
import io.fabric8.kubernetes.api.model.apiextensions.v1.ValidationRule;
import io.fabric8.kubernetes.api.model.apiextensions.v1.ValidationRuleBuilder;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** Makes the YAML of {@code crds/yaml} from the Java types. */
final class CrdGeneration {
  private static final String HEADER =
      """
      # Generated from the Java types of dev.perigee.api; do not edit. To write it anew:
      # ./perigee test -pl crds -Dperigee.regenerate=true
      """;

  private CrdGeneration() {}

  /** The definition of PretrainJob, as the committed file holds it. */
  static String pretrainJob() throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    CustomResourceDefinition[] made = new CustomResourceDefinition[1];
    CRDPostProcessor keep =
        new CRDPostProcessor() {
          @Override
          public HasMetadata process(HasMetadata crd, String version) {
            made[0] = (CustomResourceDefinition) crd;
            return crd;
          }
        };
    int count =
        new CRDGenerator()
            .customResourceClasses(PretrainJob.class)
            .forCRDVersions("v1")
            .withPostProcessor(keep)
            .withOutput(new InMemory(bytes))
            .generate();
    if (count != 1) {
      throw new IOException("expected one definition, got " + count);
    }
    complete(made[0]);
    return HEADER + yaml(made[0]);
  }

  /** Adds what annotations cannot say. */
  private static void complete(CustomResourceDefinition crd) {
    crd.getMetadata().setAnnotations(null);
    crd.getSpec().getNames().setCategories(List.of("perigee"));
    crd.getSpec().getNames().setListKind(PretrainJob.KIND + "List");
    var version = crd.getSpec().getVersions().getFirst();
    List<String> order =
        Stream.of(PretrainJob.class.getAnnotationsByType(AdditionalPrinterColumn.class))
            .map(AdditionalPrinterColumn::name)
            .toList();
    version
        .getAdditionalPrinterColumns()
        .sort(Comparator.comparingInt(column -> order.indexOf(column.getName())));
    JSONSchemaProps root = version.getSchema().getOpenAPIV3Schema();
    root.setRequired(List.of("spec"));
    root.setDescription("Pretrains one sparse mixture-of-experts language model to a checkpoint.");
    root.setXKubernetesValidations(
        List.of(
            new ValidationRuleBuilder()
                .withRule(
                    "size(self.metadata.name) <= 63 &&"
                        + " self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
                .withMessage(
                    "metadata.name: must be a DNS label that begins with a letter, of at most 63"
                        + " characters a-z, 0-9 and '-', because the job's Service takes this name")
                .build()));

    JSONSchemaProps spec = at(root, "spec");
    spec.setDescription("What is asked for.");
    at(root, "status").setDescription("What came of it; written by the operator.");
    listMap(at(spec, "data"), "name");
    listMap(at(root, "status.conditions"), "type");
    for (String map : List.of("labels", "annotations", "nodeSelector")) {
      JSONSchemaProps schema = at(spec, "podOverrides." + map);
      schema.setMaxProperties(64L);
      schema.getAdditionalProperties().getSchema().setMaxLength(4096L);
    }
    for (String map : List.of("requests", "limits")) {
      at(spec, "resources." + map).setMaxProperties(32L);
    }
    for (String list : List.of("env", "tolerations", "imagePullSecrets")) {
      at(spec, "podOverrides." + list).setMaxItems(64L);
    }
    JSONSchemaProps env = at(spec, "podOverrides.env");
    listMap(env, "name");
    JSONSchemaProps variable = env.getItems().getSchema();
    variable.setRequired(List.of("name"));
    at(variable, "name").setMaxLength(256L);
    at(variable, "name").setMinLength(1L);
    CoreDescriptions.addTo(at(spec, "podOverrides"));

    at(spec, "model.preset").setEnum(presets());
    List<ValidationRule> rules = new ArrayList<>(spec.getXKubernetesValidations());
    rules.addAll(LayoutRules.all());
    rules.addAll(presetRules());
    spec.setXKubernetesValidations(rules);
  }

  private static List<JsonNode> presets() {
    return ModelPresets.all().keySet().stream().<JsonNode>map(TextNode::new).toList();
  }

  private static List<ValidationRule> presetRules() {
    String positions =
        LayoutRules.table(ModelConfig::maxPositionEmbeddings) + "[self.model.preset]";
    String vocabulary = LayoutRules.table(ModelConfig::vocabSize) + "[self.model.preset]";
    if (ModelPresets.all().values().stream().anyMatch(p -> p.vocabSize() < 258)) {
      throw new IllegalStateException("a preset too small for bytes needs a rule: " + vocabulary);
    }
    if (ModelPresets.all().values().stream().anyMatch(ModelConfig::tieWordEmbeddings)) {
      throw new IllegalStateException("a preset with tied embeddings needs a rule on its stages");
    }
    if (ModelPresets.all().values().stream().anyMatch(p -> p.nRoutedExperts() == 0)) {
      throw new IllegalStateException("a preset without experts needs rules on expert and memory");
    }
    return List.of(
        new ValidationRuleBuilder()
            .withRule("!has(self.model.preset) || self.sequenceLength <= " + positions)
            .withMessage("sequenceLength: must not be more than the preset's longest context")
            .withMessageExpression(
                "'sequenceLength: %s is more than the longest context of %s,"
                    + " %s'.format([string(self.sequenceLength), self.model.preset, string("
                    + positions
                    + ")])")
            .withFieldPath(".sequenceLength")
            .build());
  }

  private static void listMap(JSONSchemaProps list, String key) {
    list.setXKubernetesListType("map");
    list.setXKubernetesListMapKeys(List.of(key));
  }

  /** The schema of a field, by its path. */
  static JSONSchemaProps at(JSONSchemaProps schema, String path) {
    JSONSchemaProps found = schema;
    for (String part : path.split("\\.", -1)) {
      Map<String, JSONSchemaProps> properties = found.getProperties();
      found = properties == null ? null : properties.get(part);
      if (found == null) {
        throw new IllegalArgumentException("the schema has no field " + path);
      }
    }
    return found;
  }

  private static String yaml(CustomResourceDefinition crd) throws IOException {
    ObjectMapper mapper =
        new ObjectMapper(
            YAMLFactory.builder()
                .disable(YAMLGenerator.Feature.WRITE_DOC_START_MARKER)
                .enable(YAMLGenerator.Feature.MINIMIZE_QUOTES)
                .enable(YAMLGenerator.Feature.ALWAYS_QUOTE_NUMBERS_AS_STRINGS)
                .enable(YAMLGenerator.Feature.INDENT_ARRAYS_WITH_INDICATOR)
                .disable(YAMLGenerator.Feature.SPLIT_LINES)
                .build());
    return mapper.writeValueAsString(wholeNumbers(mapper.valueToTree(crd)));
  }

  /** Bounds are doubles in the model; 1.0E12 is written as 1000000000000. */
  private static JsonNode wholeNumbers(JsonNode node) {
    return switch (node) {
      case ObjectNode object -> {
        object.properties().forEach(e -> e.setValue(wholeNumbers(e.getValue())));
        yield object;
      }
      case ArrayNode array -> {
        for (int i = 0; i < array.size(); i++) {
          array.set(i, wholeNumbers(array.get(i)));
        }
        yield array;
      }
      default ->
          node.isDouble() && node.doubleValue() == node.longValue()
              ? LongNode.valueOf(node.longValue())
              : node;
    };
  }

  private record InMemory(ByteArrayOutputStream bytes)
      implements CRDGenerator.CRDOutput<ByteArrayOutputStream> {
    @Override
    public ByteArrayOutputStream outputFor(String name) {
      return bytes;
    }

    @Override
    public void close() {
      bytes.reset();
    }

    @Override
    public String toString() {
      return bytes.toString(StandardCharsets.UTF_8);
    }
  }
}
