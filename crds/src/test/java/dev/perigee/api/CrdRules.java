package dev.perigee.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import com.google.common.collect.ImmutableCollection;
import com.google.common.collect.ImmutableList;
import com.google.common.collect.ImmutableMap;
import dev.cel.bundle.Cel;
import dev.cel.bundle.CelBuilder;
import dev.cel.bundle.CelFactory;
import dev.cel.common.CelException;
import dev.cel.common.CelFunctionDecl;
import dev.cel.common.CelOptions;
import dev.cel.common.CelOverloadDecl;
import dev.cel.common.types.CelType;
import dev.cel.common.types.CelTypeProvider;
import dev.cel.common.types.ListType;
import dev.cel.common.types.MapType;
import dev.cel.common.types.SimpleType;
import dev.cel.common.types.StructType;
import dev.cel.extensions.CelExtensions;
import dev.cel.parser.CelStandardMacro;
import dev.cel.runtime.CelFunctionBinding;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** The rules of the committed definition, run as an API server runs them. */
final class CrdRules {
  /** A rule that a manifest breaks. */
  record Broken(String rule, String message) {}

  private static final CelOptions OPTIONS = CelOptions.current().build();
  private static final YAMLMapper YAML = new YAMLMapper();

  private final JsonNode schema;
  private final Cel untyped =
      cel().addVar("self", SimpleType.DYN).addVar("oldSelf", SimpleType.DYN).build();

  CrdRules(Path definition) throws IOException {
    schema = YAML.readTree(definition.toFile()).at("/spec/versions/0/schema/openAPIV3Schema");
  }

  /** All rules, once each however often the type that they stand on occurs. */
  Set<String> all() {
    Set<String> rules = new LinkedHashSet<>();
    schema
        .findValues("x-kubernetes-validations")
        .forEach(list -> list.forEach(r -> rules.add(r.path("rule").asText())));
    return rules;
  }

  /** The manifest with the defaults of the schema. */
  ObjectNode withDefaults(JsonNode manifest) {
    ObjectNode copy = manifest.deepCopy();
    setDefaults(schema, copy);
    return copy;
  }

  /** The manifest as the operator reads it; an unknown field is an error. */
  PretrainJob parse(JsonNode manifest) throws IOException {
    return new ObjectMapper().treeToValue(withDefaults(manifest), PretrainJob.class);
  }

  /** The rules that a manifest breaks, against the one before when there is one. */
  List<Broken> broken(JsonNode manifest, Optional<JsonNode> before) throws CelException {
    List<Broken> found = new ArrayList<>();
    run(schema, withDefaults(manifest), before.map(this::withDefaults).orElse(null), found);
    return found;
  }

  /**
   * Compiles every rule with the types of the schema, as an API server does when the definition is
   * created, and fails on the first that it would refuse.
   */
  void compileWithTypes() throws CelException {
    compile(schema, "");
  }

  private static CelBuilder cel() {
    return CelFactory.legacyCelBuilder()
        .setOptions(OPTIONS)
        .setStandardMacros(CelStandardMacro.STANDARD_MACROS)
        .addCompilerLibraries(CelExtensions.strings())
        .addRuntimeLibraries(CelExtensions.strings())
        // Kubernetes has them, this CEL does not yet.
        .addFunctionDeclarations(
            CelFunctionDecl.newFunctionDeclaration(
                "format",
                CelOverloadDecl.newMemberOverload(
                    "string_format",
                    SimpleType.STRING,
                    SimpleType.STRING,
                    ListType.create(SimpleType.DYN))),
            CelFunctionDecl.newFunctionDeclaration(
                "sum",
                CelOverloadDecl.newMemberOverload(
                    "list_int_sum_int", SimpleType.INT, ListType.create(SimpleType.INT))))
        .addFunctionBindings(
            CelFunctionBinding.from(
                "string_format",
                String.class,
                List.class,
                (text, values) -> String.format(Locale.ROOT, text, values.toArray())),
            CelFunctionBinding.from(
                "list_int_sum_int",
                List.class,
                numbers ->
                    ((List<?>) numbers).stream().mapToLong(n -> ((Number) n).longValue()).sum()));
  }

  private void run(JsonNode schema, JsonNode value, JsonNode before, List<Broken> found)
      throws CelException {
    Map<String, Object> variables = new HashMap<>();
    variables.put("self", celValue(schema, value));
    if (before != null) {
      variables.put("oldSelf", celValue(schema, before));
    }
    for (JsonNode rule : schema.path("x-kubernetes-validations")) {
      String expression = rule.path("rule").asText();
      if (expression.contains("oldSelf") && before == null) {
        continue;
      }
      if (!Boolean.TRUE.equals(eval(expression, variables))) {
        Object message =
            rule.has("messageExpression")
                ? eval(rule.path("messageExpression").asText(), variables)
                : rule.path("message").asText();
        found.add(new Broken(expression, message.toString()));
      }
    }
    for (var property : schema.path("properties").properties()) {
      JsonNode child = value.get(property.getKey());
      if (child != null) {
        run(
            property.getValue(),
            child,
            before == null ? null : before.get(property.getKey()),
            found);
      }
    }
    if (schema.has("items")) {
      for (JsonNode item : value) {
        run(schema.get("items"), item, null, found);
      }
    }
  }

  private Object eval(String expression, Map<String, Object> variables) throws CelException {
    return untyped.createProgram(untyped.compile(expression).getAst()).eval(variables);
  }

  private static void setDefaults(JsonNode schema, JsonNode value) {
    if (value instanceof ObjectNode object) {
      for (var property : schema.path("properties").properties()) {
        JsonNode byDefault = property.getValue().get("default");
        if (byDefault != null && !object.has(property.getKey())) {
          object.set(property.getKey(), byDefault.deepCopy());
        }
        if (object.has(property.getKey())) {
          setDefaults(property.getValue(), object.get(property.getKey()));
        }
      }
    } else if (value.isArray()) {
      value.forEach(item -> setDefaults(schema.path("items"), item));
    }
  }

  /** The schema, not the spelling, says whether 1 is an integer. */
  private static Object celValue(JsonNode schema, JsonNode value) {
    return switch (value.getNodeType()) {
      case OBJECT -> {
        Map<String, Object> fields = new HashMap<>();
        value
            .properties()
            .forEach(
                f -> fields.put(f.getKey(), celValue(property(schema, f.getKey()), f.getValue())));
        yield fields;
      }
      case ARRAY -> {
        List<Object> items = new ArrayList<>();
        value.forEach(item -> items.add(celValue(schema.path("items"), item)));
        yield items;
      }
      case NUMBER ->
          schema.path("type").asText().equals("integer")
              ? (Object) value.asLong()
              : (Object) value.asDouble();
      case BOOLEAN -> value.asBoolean();
      default -> value.asText();
    };
  }

  private static JsonNode property(JsonNode schema, String name) {
    return schema.path("properties").has(name)
        ? schema.path("properties").get(name)
        : schema.path("additionalProperties");
  }

  private static void compile(JsonNode schema, String path) throws CelException {
    if (schema.has("x-kubernetes-validations")) {
      Map<String, CelType> types = new HashMap<>();
      CelType self = type(schema, "Schema" + path, types);
      Cel typed =
          cel()
              .setTypeProvider(new Types(ImmutableMap.copyOf(types)))
              .addVar("self", self)
              .addVar("oldSelf", self)
              .build();
      for (JsonNode rule : schema.get("x-kubernetes-validations")) {
        expect(typed, rule.path("rule").asText(), SimpleType.BOOL);
        if (rule.has("messageExpression")) {
          expect(typed, rule.path("messageExpression").asText(), SimpleType.STRING);
        }
      }
    }
    for (var property : schema.path("properties").properties()) {
      compile(property.getValue(), path + "." + property.getKey());
    }
    if (schema.has("items")) {
      compile(schema.get("items"), path + ".items");
    }
  }

  private static void expect(Cel typed, String expression, CelType type) throws CelException {
    CelType result = typed.compile(expression).getAst().getResultType();
    if (!result.equals(type)) {
      throw new IllegalStateException(
          expression + " gives " + result.name() + ", not " + type.name());
    }
  }

  private static CelType type(JsonNode schema, String name, Map<String, CelType> types) {
    if (schema.path("x-kubernetes-int-or-string").asBoolean()) {
      return SimpleType.DYN;
    }
    return switch (schema.path("type").asText()) {
      case "integer" -> SimpleType.INT;
      case "number" -> SimpleType.DOUBLE;
      case "boolean" -> SimpleType.BOOL;
      case "string" -> SimpleType.STRING;
      case "array" -> ListType.create(type(schema.get("items"), name + ".items", types));
      default -> {
        if (schema.path("additionalProperties").isObject()) {
          yield MapType.create(
              SimpleType.STRING, type(schema.get("additionalProperties"), name + ".values", types));
        }
        Map<String, CelType> fields = new HashMap<>();
        for (var p : schema.path("properties").properties()) {
          fields.put(p.getKey(), type(p.getValue(), name + "." + p.getKey(), types));
        }
        if (name.equals("Schema")) {
          // Of the metadata, an API server shows the names only.
          Map<String, CelType> metadata =
              Map.of("name", SimpleType.STRING, "generateName", SimpleType.STRING);
          fields.put("metadata", struct("Schema.metadata", metadata, types));
        }
        yield struct(name, fields, types);
      }
    };
  }

  private static StructType struct(
      String name, Map<String, CelType> fields, Map<String, CelType> types) {
    ImmutableMap<String, CelType> known = ImmutableMap.copyOf(fields);
    StructType type =
        StructType.create(name, known.keySet(), field -> Optional.ofNullable(known.get(field)));
    types.put(name, type);
    return type;
  }

  private record Types(ImmutableMap<String, CelType> byName) implements CelTypeProvider {
    @Override
    public ImmutableCollection<CelType> types() {
      return ImmutableList.copyOf(byName.values());
    }

    @Override
    public Optional<CelType> findType(String name) {
      return Optional.ofNullable(byName.get(name));
    }
  }
}
