package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError.Cause;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** What every object passes before it is stored: unknown fields, defaults, schema, rules. */
final class Admission {
  /** What to do about fields that the schema does not declare. */
  enum FieldValidation {
    Ignore,
    Warn,
    Strict
  }

  private Admission() {}

  /**
   * Prunes unknown fields and sets defaults, in place.
   *
   * @param warnings gets one line for each unknown field, when it should warn
   * @throws ApiError 400 when it is strict and there are unknown fields
   */
  static void decode(
      ResourceType type,
      ObjectNode object,
      boolean creating,
      FieldValidation validation,
      List<String> warnings) {
    List<String> unknown = SchemaValidator.prune(type.schema(), object);
    if (!unknown.isEmpty() && validation == FieldValidation.Strict) {
      throw ApiError.badRequest(
          cannotBeHandled(type)
              + "strict decoding error: "
              + unknown.stream()
                  .map(u -> "unknown field \"" + u + "\"")
                  .collect(Collectors.joining(", ")));
    }
    if (validation == FieldValidation.Warn) {
      unknown.forEach(u -> warnings.add("unknown field \"" + u + "\""));
    }
    SchemaValidator.setDefaults(type.schema(), object);
    // A built-in kind of the wrong types cannot even be read; see validate.
    if (type.custom() || SchemaValidator.validate(type.schema(), object).isEmpty()) {
      BuiltinRules.setDefaults(type, object, creating);
    }
  }

  /**
   * Checks a decoded object.
   *
   * @param old the object before, null when it is created
   * @throws ApiError 422 with every cause, or 400 for a built-in kind with a value of a wrong type
   */
  static void validate(ResourceType type, ObjectNode object, ObjectNode old) {
    List<Cause> bySchema = SchemaValidator.validate(type.schema(), object);
    if (!type.custom() && !bySchema.isEmpty()) {
      throw ApiError.badRequest(
          cannotBeHandled(type)
              + bySchema.stream()
                  .map(c -> c.field() + ": " + c.message())
                  .collect(Collectors.joining(", ")));
    }
    List<Cause> causes = new ArrayList<>(BuiltinRules.checkMetadata(type, object));
    causes.addAll(bySchema);
    causes.addAll(BuiltinRules.check(type, object, old));
    if (bySchema.isEmpty() && type.custom()) {
      // A rule may rely on what the schema promises, so rules only see what holds to it.
      causes.addAll(CelRules.validate(type.schema(), object, old));
    }
    if (!causes.isEmpty()) {
      throw ApiError.invalid(type, Json.text(object, "metadata", "name"), causes);
    }
  }

  private static String cannotBeHandled(ResourceType type) {
    return type.kind()
        + " in version \""
        + type.version()
        + "\" cannot be handled as a "
        + type.kind()
        + ": ";
  }
}
