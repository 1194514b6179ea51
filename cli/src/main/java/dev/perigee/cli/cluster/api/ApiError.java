package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.stream.Collectors;

/** A refusal, in the form that clients know: a {@code Status} with a code, reason and causes. */
public final class ApiError extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final transient ObjectNode status;

  /**
   * One thing that is wrong with an object.
   *
   * @param reason a machine's word for it, for example {@code FieldValueInvalid}
   * @param field the path of the field, for example {@code spec.steps}
   * @param message what is wrong, without the field
   */
  public record Cause(String reason, String field, String message) {
    /** A value that does not hold to a rule; {@code shown} is how the value is printed. */
    public static Cause invalid(String field, String shown, String message) {
      return new Cause("FieldValueInvalid", field, "Invalid value: " + shown + ": " + message);
    }

    /** A field that must be there. */
    public static Cause required(String field, String message) {
      return new Cause(
          "FieldValueRequired",
          field,
          message.isEmpty() ? "Required value" : "Required value: " + message);
    }
  }

  private ApiError(int code, String reason, String message) {
    super(message);
    status = Json.object();
    status.put("kind", "Status").put("apiVersion", "v1");
    status.putObject("metadata");
    status.put("status", "Failure").put("message", message).put("reason", reason);
    status.put("code", code);
  }

  /** The HTTP status code. */
  public int code() {
    return status.path("code").asInt();
  }

  /** The {@code Status} object. */
  public ObjectNode status() {
    return status;
  }

  /** The object that was asked for does not exist. */
  public static ApiError notFound(ResourceType type, String name) {
    return new ApiError(404, "NotFound", type.qualifiedPlural() + " \"" + name + "\" not found")
        .about(type, name);
  }

  /** There is no such path. */
  public static ApiError noSuchPath() {
    return new ApiError(404, "NotFound", "the server could not find the requested resource");
  }

  /** An object of that name exists. */
  public static ApiError alreadyExists(ResourceType type, String name) {
    return new ApiError(
            409, "AlreadyExists", type.qualifiedPlural() + " \"" + name + "\" already exists")
        .about(type, name);
  }

  /** The object has changed since it was read. */
  public static ApiError conflict(ResourceType type, String name, String why) {
    return new ApiError(
            409,
            "Conflict",
            "Operation cannot be fulfilled on "
                + type.qualifiedPlural()
                + " \""
                + name
                + "\": "
                + why)
        .about(type, name);
  }

  /** Fields that another manager owns were applied without force. */
  public static ApiError applyConflict(List<Cause> causes, String message) {
    return new ApiError(409, "Conflict", message).causes(causes);
  }

  /** The object breaks rules of its kind. */
  public static ApiError invalid(ResourceType type, String name, List<Cause> causes) {
    String joined =
        causes.stream().map(c -> c.field() + ": " + c.message()).collect(Collectors.joining(", "));
    String list = causes.size() == 1 ? joined : "[" + joined + "]";
    return new ApiError(
            422, "Invalid", type.qualifiedKind() + " \"" + name + "\" is invalid: " + list)
        .about(type, name)
        .causes(causes);
  }

  /** The request cannot be understood. */
  public static ApiError badRequest(String message) {
    return new ApiError(400, "BadRequest", message);
  }

  /** The request is well formed, and cannot be carried out on the object. */
  public static ApiError unprocessable(String message) {
    return new ApiError(422, "Invalid", message);
  }

  /** The request is understood, and not allowed. */
  public static ApiError forbidden(ResourceType type, String name, String message) {
    return new ApiError(
            403, "Forbidden", type.qualifiedPlural() + " \"" + name + "\" is forbidden: " + message)
        .about(type, name);
  }

  /** The path exists, the method does not. */
  public static ApiError methodNotAllowed(String message) {
    return new ApiError(405, "MethodNotAllowed", message);
  }

  /** The body is longer than the server takes. */
  public static ApiError tooLarge(String message) {
    return new ApiError(413, "RequestEntityTooLarge", "Request entity too large: " + message);
  }

  /** The body's media type is not one that the path takes. */
  public static ApiError unsupportedMediaType(String message) {
    return new ApiError(415, "UnsupportedMediaType", message);
  }

  /** The history that a watch or a page wants to go on from is gone. */
  public static ApiError expired(String message) {
    return new ApiError(410, "Expired", message);
  }

  /** The server itself failed. */
  public static ApiError internal(String message) {
    return new ApiError(500, "InternalError", "Internal error occurred: " + message);
  }

  private ApiError about(ResourceType type, String name) {
    ObjectNode details = status.putObject("details");
    details.put("name", name);
    if (!type.group().isEmpty()) {
      details.put("group", type.group());
    }
    // Kubernetes names the kind in refusals of content, the resource in all others.
    details.put("kind", code() == 422 ? type.kind() : type.plural());
    return this;
  }

  private ApiError causes(List<Cause> causes) {
    ArrayNode array = Json.child(status, "details").putArray("causes");
    for (Cause cause : causes) {
      array
          .addObject()
          .put("reason", cause.reason())
          .put("message", cause.message())
          .put("field", cause.field());
    }
    return this;
  }
}
