package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.cel.common.CelAbstractSyntaxTree;
import dev.cel.common.CelFunctionDecl;
import dev.cel.common.CelOptions;
import dev.cel.common.CelOverloadDecl;
import dev.cel.common.CelValidationException;
import dev.cel.common.types.CelType;
import dev.cel.common.types.ListType;
import dev.cel.common.types.SimpleType;
import dev.cel.compiler.CelCompiler;
import dev.cel.compiler.CelCompilerFactory;
import dev.cel.extensions.CelExtensions;
import dev.cel.parser.CelStandardMacro;
import dev.cel.runtime.CelEvaluationException;
import dev.cel.runtime.CelFunctionBinding;
import dev.cel.runtime.CelRuntime;
import dev.cel.runtime.CelRuntimeFactory;
import dev.perigee.cli.cluster.api.ApiError.Cause;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IllegalFormatException;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;

/**
 * The rules of a schema in the Common Expression Language ({@code x-kubernetes-validations}).
 *
 * <p>Types are checked when a rule runs, not when it is compiled, so a rule that a real API server
 * would refuse to compile may be taken here; {@code optionalOldSelf} and Kubernetes' own function
 * libraries (quantities, URLs, IP addresses) are refused when the CRD is created.
 */
final class CelRules {
  private static final CelOptions OPTIONS =
      CelOptions.current().enableHeterogeneousNumericComparisons(true).build();

  /** Words that CEL reserves; Kubernetes writes a field of that name as {@code __word__}. */
  private static final Set<String> RESERVED =
      Set.of(
          "true",
          "false",
          "null",
          "in",
          "as",
          "break",
          "const",
          "continue",
          "else",
          "for",
          "function",
          "if",
          "import",
          "let",
          "loop",
          "package",
          "namespace",
          "return",
          "var",
          "void",
          "while");

  private static final Pattern OLD_SELF = Pattern.compile("\\boldSelf\\b");

  /** What has been compiled when a definition was created, and what has run. */
  private static final Map<String, CelAbstractSyntaxTree> TREES = new ConcurrentHashMap<>();

  private static final Map<String, CelRuntime.Program> PROGRAMS = new ConcurrentHashMap<>();

  /** Made when the first rule comes: the libraries take a while to load. */
  private static final class Environment {
    static final CelCompiler COMPILER =
        CelCompilerFactory.standardCelCompilerBuilder()
            .setOptions(OPTIONS)
            .setStandardMacros(CelStandardMacro.STANDARD_MACROS)
            .addLibraries(CelExtensions.strings(), CelExtensions.sets(OPTIONS))
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
            .addVar("self", SimpleType.DYN)
            .addVar("oldSelf", SimpleType.DYN)
            .build();
    static final CelRuntime RUNTIME =
        CelRuntimeFactory.legacyCelRuntimeBuilder()
            .setOptions(OPTIONS)
            .addLibraries(CelExtensions.strings(), CelExtensions.sets(OPTIONS))
            .addFunctionBindings(
                CelFunctionBinding.from(
                    "string_format", String.class, List.class, Environment::format),
                CelFunctionBinding.from("list_int_sum_int", List.class, Environment::sum))
            .build();

    /** {@code %s} and {@code %d} mean the same in CEL and in Java. */
    private static Object format(String text, List<?> values) throws CelEvaluationException {
      try {
        return String.format(Locale.ROOT, text, values.toArray());
      } catch (IllegalFormatException e) {
        throw new CelEvaluationException("format: " + e.getMessage(), e);
      }
    }

    private static Object sum(List<?> numbers) throws CelEvaluationException {
      try {
        long sum = 0;
        for (Object number : numbers) {
          sum = Math.addExact(sum, (Long) number);
        }
        return sum;
      } catch (ArithmeticException | ClassCastException e) {
        throw new CelEvaluationException("sum: " + e.getMessage(), e);
      }
    }

    private Environment() {}
  }

  private CelRules() {}

  /** What does not compile in the rules of a schema. */
  static List<Cause> compile(Schema schema, String path) {
    List<Cause> causes = new ArrayList<>();
    int i = 0;
    for (JsonNode rule : schema.node().path("x-kubernetes-validations")) {
      String at = path + ".x-kubernetes-validations[" + i++ + "]";
      check(rule, "rule", SimpleType.BOOL, at, causes);
      check(rule, "messageExpression", SimpleType.STRING, at, causes);
      if (rule.path("optionalOldSelf").asBoolean(false)) {
        causes.add(
            Cause.invalid(
                at + ".optionalOldSelf", "true", "not supported by the embedded API server"));
      }
    }
    for (Map.Entry<String, JsonNode> p : schema.node().path("properties").properties()) {
      causes.addAll(compile(new Schema(p.getValue()), path + ".properties[" + p.getKey() + "]"));
    }
    for (String nested : List.of("items", "additionalProperties")) {
      if (schema.node().path(nested).isObject()) {
        causes.addAll(compile(new Schema(schema.node().get(nested)), path + "." + nested));
      }
    }
    return causes;
  }

  private static void check(
      JsonNode rule, String field, CelType type, String path, List<Cause> causes) {
    String expression = rule.path(field).asText("");
    if (expression.isEmpty()) {
      return;
    }
    try {
      CelAbstractSyntaxTree tree = tree(expression);
      if (!tree.getResultType().equals(type) && !tree.getResultType().equals(SimpleType.DYN)) {
        causes.add(
            Cause.invalid(
                path + "." + field,
                "\"" + expression + "\"",
                "must evaluate to a " + type.name() + ", not " + tree.getResultType().name()));
      }
    } catch (CelValidationException e) {
      causes.add(
          Cause.invalid(
              path + "." + field,
              "\"" + expression + "\"",
              "compilation failed: " + e.getMessage().lines().findFirst().orElse("")));
    }
  }

  /**
   * The rules that an object breaks.
   *
   * @param old the object before, null when there is none: then rules on {@code oldSelf} rest
   */
  static List<Cause> validate(Schema schema, JsonNode value, JsonNode old) {
    List<Cause> causes = new ArrayList<>();
    validate(schema, value, old, "", causes);
    return causes;
  }

  private static void validate(
      Schema schema, JsonNode value, JsonNode old, String path, List<Cause> causes) {
    JsonNode rules = schema.node().path("x-kubernetes-validations");
    if (!rules.isEmpty()) {
      Map<String, Object> variables = new HashMap<>();
      variables.put("self", celValue(schema, value));
      if (old != null) {
        variables.put("oldSelf", celValue(schema, old));
      }
      for (JsonNode rule : rules) {
        boolean transition = OLD_SELF.matcher(rule.path("rule").asText()).find();
        if (!transition || old != null) {
          run(rule, variables, path, causes);
        }
      }
    }
    if (value instanceof ObjectNode object) {
      for (Map.Entry<String, JsonNode> f : object.properties()) {
        if (schema.declares(f.getKey()) || schema.node().path("additionalProperties").isObject()) {
          validate(
              schema.property(f.getKey()),
              f.getValue(),
              old == null ? null : old.get(f.getKey()),
              path.isEmpty() ? f.getKey() : path + "." + f.getKey(),
              causes);
        }
      }
    } else if (value instanceof ArrayNode array) {
      for (int i = 0; i < array.size(); i++) {
        validate(
            schema.items(),
            array.get(i),
            counterpart(schema, old, array.get(i)),
            path + "[" + i + "]",
            causes);
      }
    }
  }

  /** The entry that a list's entry was before: only those of keyed lists can be told. */
  private static JsonNode counterpart(Schema list, JsonNode old, JsonNode entry) {
    if (old == null || list.listType() != Schema.ListType.map) {
      return null;
    }
    int at = FieldSet.indexOf(list, old, FieldSet.entryElement(list, entry));
    return at < 0 ? null : old.get(at);
  }

  private static void run(
      JsonNode rule, Map<String, Object> variables, String path, List<Cause> causes) {
    String expression = rule.path("rule").asText();
    String field = path + rule.path("fieldPath").asText("");
    try {
      if (!Boolean.TRUE.equals(program(expression).eval(variables))) {
        causes.add(
            new Cause(
                rule.path("reason").asText("FieldValueInvalid"),
                field.startsWith(".") ? field.substring(1) : field,
                "Invalid value: " + message(rule, variables)));
      }
    } catch (CelEvaluationException | CelValidationException e) {
      causes.add(
          new Cause(
              "FieldValueInvalid",
              path,
              "Invalid value: rule evaluation error: "
                  + e.getMessage()
                  + " (rule: "
                  + expression
                  + ")"));
    }
  }

  private static String message(JsonNode rule, Map<String, Object> variables) {
    String expression = rule.path("messageExpression").asText("");
    if (!expression.isEmpty()) {
      try {
        Object message = program(expression).eval(variables);
        if (message instanceof String text && !text.isBlank() && !text.contains("\n")) {
          return text;
        }
      } catch (CelEvaluationException | CelValidationException e) {
        // As in Kubernetes: when the message cannot be made, the fixed one serves.
        return rule.path("message").asText("failed rule: " + rule.path("rule").asText());
      }
    }
    return rule.path("message").asText("failed rule: " + rule.path("rule").asText());
  }

  private static CelRuntime.Program program(String expression)
      throws CelValidationException, CelEvaluationException {
    CelRuntime.Program known = PROGRAMS.get(expression);
    if (known == null) {
      known = Environment.RUNTIME.createProgram(tree(expression));
      PROGRAMS.put(expression, known);
    }
    return known;
  }

  private static CelAbstractSyntaxTree tree(String expression) throws CelValidationException {
    CelAbstractSyntaxTree known = TREES.get(expression);
    if (known == null) {
      known = Environment.COMPILER.compile(expression).getAst();
      TREES.put(expression, known);
    }
    return known;
  }

  /** A value as CEL sees it: the schema says whether 1 is an int or a double. */
  private static Object celValue(Schema schema, JsonNode value) {
    return switch (value.getNodeType()) {
      case OBJECT -> {
        Map<String, Object> fields = new HashMap<>();
        for (Map.Entry<String, JsonNode> f : value.properties()) {
          String name = schema.declares(f.getKey()) ? escaped(f.getKey()) : f.getKey();
          fields.put(name, celValue(schema.property(f.getKey()), f.getValue()));
        }
        yield fields;
      }
      case ARRAY -> {
        List<Object> entries = new ArrayList<>();
        value.forEach(entry -> entries.add(celValue(schema.items(), entry)));
        yield entries;
      }
      case NUMBER ->
          value.isIntegralNumber() && !schema.type().equals("number")
              ? (Object) value.asLong()
              : (Object) value.asDouble();
      case BOOLEAN -> value.asBoolean();
      case STRING -> value.asText();
      default -> com.google.protobuf.NullValue.NULL_VALUE;
    };
  }

  private static String escaped(String name) {
    return RESERVED.contains(name)
        ? "__" + name + "__"
        : name.replace("__", "__underscores__")
            .replace(".", "__dot__")
            .replace("-", "__dash__")
            .replace("/", "__slash__");
  }
}
