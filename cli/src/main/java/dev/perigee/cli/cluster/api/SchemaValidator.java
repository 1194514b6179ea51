package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError.Cause;
import java.math.BigDecimal;
import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.StringJoiner;
import java.util.regex.Pattern;

/**
 * Structural schemas at work: unknown fields pruned, defaults set, values checked. Messages have
 * the wording of the real API server, so that what people search for is what they find.
 */
final class SchemaValidator {
  private SchemaValidator() {}

  /**
   * Removes the fields that the schema does not declare, and nulls where null is not a value.
   *
   * @return the paths of the unknown ones
   */
  static List<String> prune(Schema schema, ObjectNode object) {
    List<String> unknown = new ArrayList<>();
    prune(schema, object, "", unknown);
    return unknown;
  }

  private static void prune(Schema schema, JsonNode value, String path, List<String> unknown) {
    if (value instanceof ObjectNode object) {
      Iterator<Map.Entry<String, JsonNode>> fields = object.properties().iterator();
      while (fields.hasNext()) {
        Map.Entry<String, JsonNode> field = fields.next();
        String name = field.getKey();
        boolean declared = schema.declares(name);
        if (!declared && !schema.open()) {
          unknown.add(path.isEmpty() ? name : path + "." + name);
          fields.remove();
        } else if (field.getValue().isNull()
            && declared
            && !schema.property(name).node().path("nullable").asBoolean(false)
            && !schema.property(name).preservesUnknown()) {
          fields.remove();
        } else {
          prune(schema.property(name), field.getValue(), join(path, name), unknown);
        }
      }
    } else if (value instanceof ArrayNode array) {
      for (int i = 0; i < array.size(); i++) {
        prune(schema.items(), array.get(i), path + "[" + i + "]", unknown);
      }
    }
  }

  /** Sets the defaults of absent fields, within everything that is present. */
  static void setDefaults(Schema schema, JsonNode value) {
    if (value instanceof ObjectNode object) {
      for (Map.Entry<String, JsonNode> declared : schema.node().path("properties").properties()) {
        JsonNode byDefault = declared.getValue().get("default");
        if (byDefault != null && !object.has(declared.getKey())) {
          object.set(declared.getKey(), byDefault.deepCopy());
        }
      }
      object.properties().forEach(f -> setDefaults(schema.property(f.getKey()), f.getValue()));
    } else if (value instanceof ArrayNode array) {
      array.forEach(entry -> setDefaults(schema.items(), entry));
    }
  }

  /** What is wrong with a value, by the schema alone. */
  static List<Cause> validate(Schema schema, JsonNode value) {
    List<Cause> causes = new ArrayList<>();
    validate(schema, value, "", causes);
    return causes;
  }

  private static void validate(Schema schema, JsonNode value, String path, List<Cause> causes) {
    if (value.isNull() && schema.node().path("nullable").asBoolean(false)) {
      return;
    }
    if (!hasType(schema, value)) {
      String expected = schema.intOrString() ? "integer,string" : schema.type();
      String found = typeOf(value);
      causes.add(
          Cause.invalid(
              path,
              quoted(found),
              path + " in body must be of type " + expected + ": " + quoted(found)));
      return;
    }
    checkEnum(schema, value, path, causes);
    combined(schema, value, path, causes);
    switch (value) {
      case ObjectNode object -> checkObject(schema, object, path, causes);
      case ArrayNode array -> checkArray(schema, array, path, causes);
      default -> {
        if (value.isNumber()) {
          checkNumber(schema, value, path, causes);
        } else if (value.isTextual()) {
          checkText(schema, value.asText(), path, causes);
        }
      }
    }
  }

  private static boolean hasType(Schema schema, JsonNode value) {
    if (schema.intOrString()) {
      return value.isIntegralNumber() || value.isTextual() || value.isNumber();
    }
    return switch (schema.type()) {
      case "" -> true;
      case "integer" -> isInteger(value);
      case "number" -> value.isNumber();
      default -> typeOf(value).equals(schema.type());
    };
  }

  /**
   * A whole number of 64 bits, or one written with a fraction of zero that a double holds exactly,
   * as the real server has it.
   */
  private static boolean isInteger(JsonNode value) {
    return value.isIntegralNumber()
        ? value.canConvertToLong()
        : value.isNumber()
            && Math.rint(value.doubleValue()) == value.doubleValue()
            && Math.abs(value.doubleValue()) < 1L << 53;
  }

  /** The schema's word for a value's type. */
  static String typeOf(JsonNode value) {
    return switch (value.getNodeType()) {
      case OBJECT -> "object";
      case ARRAY -> "array";
      case STRING -> "string";
      case BOOLEAN -> "boolean";
      case NUMBER -> value.isIntegralNumber() && isInteger(value) ? "integer" : "number";
      default -> "null";
    };
  }

  private static void checkEnum(Schema schema, JsonNode value, String path, List<Cause> causes) {
    JsonNode allowed = schema.node().path("enum");
    if (allowed.isArray()) {
      StringJoiner values = new StringJoiner(", ");
      for (JsonNode one : allowed) {
        if (one.equals(value)) {
          return;
        }
        values.add(quoted(one.asText()));
      }
      causes.add(
          new Cause(
              "FieldValueNotSupported",
              path,
              "Unsupported value: " + shown(value) + ": supported values: " + values));
    }
  }

  private static void combined(Schema schema, JsonNode value, String path, List<Cause> causes) {
    for (JsonNode one : schema.node().path("allOf")) {
      validate(new Schema(one), value, path, causes);
    }
    alternatives(schema, value, path, causes, "anyOf", "at least one schema (anyOf)");
    alternatives(schema, value, path, causes, "oneOf", "one and only one schema (oneOf)");
    JsonNode not = schema.node().get("not");
    if (not != null && holds(not, value)) {
      causes.add(
          Cause.invalid(path, shown(value), path + " in body must not validate the schema (not)"));
    }
  }

  private static void alternatives(
      Schema schema, JsonNode value, String path, List<Cause> causes, String word, String must) {
    JsonNode options = schema.node().path(word);
    if (!options.isArray() || options.isEmpty()) {
      return;
    }
    int holding = 0;
    for (JsonNode option : options) {
      holding += holds(option, value) ? 1 : 0;
    }
    if (holding == 0 || (word.equals("oneOf") && holding > 1)) {
      causes.add(Cause.invalid(path, shown(value), path + " in body must validate " + must));
    }
  }

  private static boolean holds(JsonNode schema, JsonNode value) {
    return validate(new Schema(schema), value).isEmpty();
  }

  private static void checkObject(
      Schema schema, ObjectNode object, String path, List<Cause> causes) {
    for (JsonNode required : schema.node().path("required")) {
      if (!object.has(required.asText())) {
        causes.add(Cause.required(join(path, required.asText()), ""));
      }
    }
    atLeast(schema, "minProperties", object.size(), path, "properties", causes);
    atMost(schema, "maxProperties", object.size(), path, causes);
    for (Map.Entry<String, JsonNode> field : object.properties()) {
      if (schema.declares(field.getKey()) || schema.open()) {
        validate(
            schema.property(field.getKey()), field.getValue(), join(path, field.getKey()), causes);
      }
    }
  }

  private static void checkArray(Schema schema, ArrayNode array, String path, List<Cause> causes) {
    atLeast(schema, "minItems", array.size(), path, "items", causes);
    atMost(schema, "maxItems", array.size(), path, causes);
    Set<JsonNode> seen = new HashSet<>();
    for (int i = 0; i < array.size(); i++) {
      String at = path + "[" + i + "]";
      JsonNode entry = array.get(i);
      validate(schema.items(), entry, at, causes);
      JsonNode identity =
          switch (schema.listType()) {
            case atomic -> null;
            case set -> entry;
            case map -> keys(schema, entry);
          };
      if (identity != null && !seen.add(identity)) {
        causes.add(new Cause("FieldValueDuplicate", at, "Duplicate value: " + shown(identity)));
      }
    }
  }

  private static ObjectNode keys(Schema list, JsonNode entry) {
    ObjectNode keys = Json.object();
    for (String key : list.listKeys()) {
      JsonNode value = list.items().keyOf(entry, key);
      if (value != null) {
        keys.set(key, value);
      }
    }
    return keys;
  }

  private static void checkNumber(Schema schema, JsonNode value, String path, List<Cause> causes) {
    JsonNode rules = schema.node();
    BigDecimal number = value.decimalValue();
    JsonNode minimum = rules.get("minimum");
    if (minimum != null) {
      boolean exclusive = rules.path("exclusiveMinimum").asBoolean(false);
      int order = number.compareTo(minimum.decimalValue());
      if (exclusive ? order <= 0 : order < 0) {
        String must = exclusive ? "greater than " : "greater than or equal to ";
        causes.add(
            Cause.invalid(
                path, shown(value), path + " in body should be " + must + minimum.asText()));
      }
    }
    JsonNode maximum = rules.get("maximum");
    if (maximum != null) {
      boolean exclusive = rules.path("exclusiveMaximum").asBoolean(false);
      int order = number.compareTo(maximum.decimalValue());
      if (exclusive ? order >= 0 : order > 0) {
        String must = exclusive ? "less than " : "less than or equal to ";
        causes.add(
            Cause.invalid(
                path, shown(value), path + " in body should be " + must + maximum.asText()));
      }
    }
    JsonNode unit = rules.get("multipleOf");
    if (unit != null && number.remainder(unit.decimalValue()).signum() != 0) {
      causes.add(
          Cause.invalid(
              path, shown(value), path + " in body should be a multiple of " + unit.asText()));
    }
    String format = rules.path("format").asText("");
    if ((format.equals("int32") && !value.canConvertToInt())
        || (format.equals("int64") && !value.canConvertToLong())) {
      causes.add(
          Cause.invalid(
              path,
              shown(value),
              path + " in body must be of type " + format + ": " + shown(value)));
    }
  }

  private static void checkText(Schema schema, String text, String path, List<Cause> causes) {
    JsonNode rules = schema.node();
    int length = text.codePointCount(0, text.length());
    if (rules.has("minLength") && length < rules.get("minLength").asInt()) {
      causes.add(
          Cause.invalid(
              path,
              quoted(text),
              path
                  + " in body should be at least "
                  + rules.get("minLength").asInt()
                  + " chars long"));
    }
    if (rules.has("maxLength") && length > rules.get("maxLength").asInt()) {
      causes.add(
          new Cause(
              "FieldValueTooLong",
              path,
              "Too long: may not be more than " + rules.get("maxLength").asInt() + " bytes"));
    }
    if (rules.has("pattern")
        && !Pattern.compile(rules.get("pattern").asText()).matcher(text).find()) {
      causes.add(
          Cause.invalid(
              path,
              quoted(text),
              path + " in body should match '" + rules.get("pattern").asText() + "'"));
    }
    if (rules.path("format").asText("").equals("date-time") && !isDateTime(text)) {
      causes.add(
          Cause.invalid(
              path, quoted(text), path + " in body must be of type date-time: " + quoted(text)));
    }
  }

  private static boolean isDateTime(String text) {
    try {
      OffsetDateTime.parse(text);
      return true;
    } catch (DateTimeParseException e) {
      return false;
    }
  }

  private static void atLeast(
      Schema schema, String rule, int size, String path, String what, List<Cause> causes) {
    JsonNode least = schema.node().get(rule);
    if (least != null && size < least.asInt()) {
      causes.add(
          Cause.invalid(
              path,
              Integer.toString(size),
              path + " in body should have at least " + least.asInt() + " " + what));
    }
  }

  private static void atMost(
      Schema schema, String rule, int size, String path, List<Cause> causes) {
    JsonNode most = schema.node().get(rule);
    if (most != null && size > most.asInt()) {
      causes.add(
          new Cause(
              "FieldValueTooMany",
              path,
              "Too many: " + size + ": must have at most " + most.asInt() + " items"));
    }
  }

  private static String join(String path, String field) {
    return path.isEmpty() ? field : path + "." + field;
  }

  private static String quoted(String text) {
    return "\"" + text + "\"";
  }

  private static String shown(JsonNode value) {
    return value.toString();
  }
}
