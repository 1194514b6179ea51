package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;

/** One HTTP request, with its path, query and body as the API reads them. */
final class ApiRequest {
  private static final int MAX_BODY = 3 << 20;

  /**
   * How much more is read, and thrown away, so that whoever still writes gets to read the answer.
   */
  private static final int MAX_DRAINED = 64 << 20;

  private final HttpExchange exchange;
  private final List<String> path;
  private final Map<String, String> query;

  ApiRequest(HttpExchange exchange) {
    this.exchange = exchange;
    this.path = new ArrayList<>();
    for (String segment : exchange.getRequestURI().getRawPath().split("/", -1)) {
      if (!segment.isEmpty()) {
        path.add(URLDecoder.decode(segment, StandardCharsets.UTF_8));
      }
    }
    this.query = new HashMap<>();
    String raw = exchange.getRequestURI().getRawQuery();
    if (raw != null && !raw.isEmpty()) {
      for (String pair : raw.split("&", -1)) {
        int equals = pair.indexOf('=');
        String name = equals < 0 ? pair : pair.substring(0, equals);
        String value = equals < 0 ? "" : pair.substring(equals + 1);
        query.put(
            URLDecoder.decode(name, StandardCharsets.UTF_8),
            URLDecoder.decode(value, StandardCharsets.UTF_8));
      }
    }
  }

  HttpExchange exchange() {
    return exchange;
  }

  String method() {
    return exchange.getRequestMethod();
  }

  /** The path's segments. */
  List<String> path() {
    return path;
  }

  /** A query parameter, empty when absent. */
  String param(String name) {
    return query.getOrDefault(name, "");
  }

  /**
   * The objects of a kind that its selectors choose.
   *
   * @throws ApiError as {@link Selectors#of} does
   */
  Predicate<JsonNode> selected(ResourceType type) {
    return Selectors.of(param("labelSelector"), param("fieldSelector"), type.selectableFields());
  }

  /** A query parameter that is true, 1 or given without a value. */
  boolean flag(String name) {
    String value = query.get(name);
    return value != null && (value.isEmpty() || value.equals("true") || value.equals("1"));
  }

  /** A numeric query parameter. */
  long number(String name, long otherwise) {
    String value = param(name);
    if (value.isEmpty()) {
      return otherwise;
    }
    try {
      return Long.parseLong(value);
    } catch (NumberFormatException e) {
      throw ApiError.badRequest(name + ": " + value + " is not a number");
    }
  }

  boolean accepts(String part) {
    String accept = exchange.getRequestHeaders().getFirst("Accept");
    return accept != null && accept.contains(part);
  }

  /** Which client asks, by the name that field ownership uses when none is given. */
  String userAgent() {
    String agent = exchange.getRequestHeaders().getFirst("User-Agent");
    return agent == null || agent.isBlank() ? "unknown" : agent.split("[/ ]", 2)[0];
  }

  String contentType() {
    String type = exchange.getRequestHeaders().getFirst("Content-Type");
    return type == null ? "application/json" : type.split(";", 2)[0].strip();
  }

  /** The body as an object. */
  ObjectNode object() throws IOException {
    if (tree() instanceof ObjectNode object) {
      return object;
    }
    throw ApiError.badRequest("the body of the request is not an object");
  }

  /** The body, null when it is empty. */
  ObjectNode objectIfAny() throws IOException {
    byte[] body = body();
    return body.length == 0 ? null : parse(body) instanceof ObjectNode o ? o : null;
  }

  /** The body. */
  JsonNode tree() throws IOException {
    return parse(body());
  }

  /** The bytes of the body; like etcd, the server takes no more than so many. */
  private byte[] body() throws IOException {
    InputStream in = exchange.getRequestBody();
    byte[] body = in.readNBytes(MAX_BODY + 1);
    if (body.length > MAX_BODY) {
      // A connection closed with bytes unread is reset, and the answer is lost on its way.
      in.skip(MAX_DRAINED);
      throw ApiError.tooLarge("limit is " + MAX_BODY);
    }
    return body;
  }

  private JsonNode parse(byte[] body) {
    String type = contentType();
    if (type.contains("protobuf") || type.contains("cbor")) {
      throw ApiError.unsupportedMediaType(
          "the body of the request was in an unknown format ("
              + type
              + ") - accepted media types include: application/json, application/yaml; write the"
              + " object to a file, with --dry-run=client -o yaml, and kubectl apply -f takes it");
    }
    try {
      return Json.parse(body, type.contains("yaml"));
    } catch (IOException e) {
      throw ApiError.badRequest(
          "the body of the request cannot be read: "
              + String.valueOf(e.getMessage()).lines().findFirst().orElse(""));
    }
  }

  /** Adds a warning that the client shows. */
  void warn(String warning) {
    exchange.getResponseHeaders().add("Warning", warning);
  }

  /** Answers with a document. */
  void send(int code, JsonNode body) throws IOException {
    send(code, body, "application/json");
  }

  /** Answers with a document of a type. */
  void send(int code, JsonNode body, String contentType) throws IOException {
    send(code, Json.bytes(body), contentType);
  }

  /** Answers with a line. */
  void sendText(String text) throws IOException {
    send(200, text.getBytes(StandardCharsets.UTF_8), "text/plain; charset=utf-8");
  }

  private void send(int code, byte[] body, String contentType) throws IOException {
    exchange.getResponseHeaders().set("Content-Type", contentType);
    exchange.sendResponseHeaders(code, body.length);
    exchange.getResponseBody().write(body);
  }

  /** Begins an answer that comes bit by bit until the stream is closed. */
  OutputStream open(String contentType) throws IOException {
    exchange.getResponseHeaders().set("Content-Type", contentType);
    exchange.sendResponseHeaders(200, 0); // 0 means chunks until the stream is closed
    OutputStream body = exchange.getResponseBody();
    body.flush();
    return body;
  }
}
