package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ResourceType.PrinterColumn;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;
import java.util.List;
import java.util.Locale;
import java.util.StringJoiner;
import java.util.function.Function;
import java.util.stream.Stream;

/** Objects as the rows that {@code kubectl get} prints ({@code meta.k8s.io/v1 Table}). */
final class TablePrinter {
  /**
   * A column.
   *
   * @param priority 0 for always, more for {@code -o wide}
   */
  private record Column(
      String name,
      String type,
      String format,
      String description,
      int priority,
      Function<JsonNode, JsonNode> cell) {
    static Column of(String name, Function<JsonNode, String> cell) {
      return new Column(name, "string", "", name, 0, o -> text(cell.apply(o)));
    }

    static Column wide(String name, Function<JsonNode, String> cell) {
      return new Column(name, "string", "", name, 1, o -> text(cell.apply(o)));
    }

    static Column number(String name, Function<JsonNode, Integer> cell) {
      return new Column(name, "integer", "", name, 0, o -> Json.MAPPER.valueToTree(cell.apply(o)));
    }

    private static JsonNode text(String value) {
      return Json.MAPPER.valueToTree(value);
    }
  }

  private static final Column NAME =
      new Column("Name", "string", "name", "Name", 0, o -> o.path("metadata").path("name"));

  private static final Column AGE =
      Column.of("Age", o -> age(Json.text(o, "metadata", "creationTimestamp")));

  private TablePrinter() {}

  /**
   * A table of objects.
   *
   * @param includeObject what of each object goes with its row: Metadata, Object or None
   */
  static ObjectNode table(
      ResourceType type,
      List<? extends JsonNode> objects,
      JsonNode listMetadata,
      String includeObject) {
    ObjectNode table = Json.object().put("kind", "Table").put("apiVersion", "meta.k8s.io/v1");
    table.set("metadata", listMetadata);
    List<Column> columns = columns(type);
    ArrayNode definitions = table.putArray("columnDefinitions");
    for (Column c : columns) {
      definitions
          .addObject()
          .put("name", c.name())
          .put("type", c.type())
          .put("format", c.format())
          .put("description", c.description())
          .put("priority", c.priority());
    }
    ArrayNode rows = table.putArray("rows");
    for (JsonNode object : objects) {
      ObjectNode row = rows.addObject();
      ArrayNode cells = row.putArray("cells");
      columns.forEach(c -> cells.add(c.cell().apply(object)));
      switch (includeObject) {
        case "None" -> {}
        case "Object" -> row.set("object", type.stamped(object));
        default -> {
          ObjectNode partial =
              Json.object()
                  .put("kind", "PartialObjectMetadata")
                  .put("apiVersion", "meta.k8s.io/v1");
          partial.set("metadata", object.path("metadata"));
          row.set("object", partial);
        }
      }
    }
    return table;
  }

  private static List<Column> columns(ResourceType type) {
    if (type.custom()) {
      Stream<Column> declared = type.columns().stream().map(TablePrinter::declared);
      return type.columns().isEmpty()
          ? List.of(NAME, AGE)
          : Stream.concat(Stream.of(NAME), declared).toList();
    }
    return switch (type.kind()) {
      case "Pod" ->
          List.of(
              NAME,
              Column.of("Ready", TablePrinter::readyContainers),
              Column.of("Status", TablePrinter::podStatus),
              Column.of("Restarts", TablePrinter::restarts),
              AGE,
              Column.wide("IP", o -> orNone(Json.text(o, "status", "podIP"))),
              Column.wide("Node", o -> orNone(Json.text(o, "spec", "nodeName"))),
              Column.wide("Nominated Node", o -> "<none>"),
              Column.wide("Readiness Gates", o -> "<none>"));
      case "ConfigMap" ->
          List.of(
              NAME,
              Column.number("Data", o -> o.path("data").size() + o.path("binaryData").size()),
              AGE);
      case "Secret" ->
          List.of(
              NAME,
              Column.of("Type", o -> Json.text(o, "type")),
              Column.number("Data", o -> o.path("data").size()),
              AGE);
      case "Service" ->
          List.of(
              NAME,
              Column.of("Type", o -> Json.text(o, "spec", "type")),
              Column.of("Cluster-IP", o -> orNone(Json.text(o, "spec", "clusterIP"))),
              Column.of("External-IP", o -> "<none>"),
              Column.of("Port(s)", TablePrinter::ports),
              AGE,
              Column.wide("Selector", o -> pairs(Json.at(o, "spec", "selector"))));
      case "Namespace" ->
          List.of(NAME, Column.of("Status", o -> Json.text(o, "status", "phase")), AGE);
      case "Node" ->
          List.of(
              NAME,
              Column.of("Status", o -> condition(o, "Ready").equals("True") ? "Ready" : "NotReady"),
              Column.of("Roles", o -> "<none>"),
              AGE,
              Column.of("Version", o -> Json.text(o, "status", "nodeInfo", "kubeletVersion")));
      case "PersistentVolumeClaim" ->
          List.of(
              NAME,
              Column.of("Status", o -> Json.text(o, "status", "phase")),
              Column.of("Volume", o -> Json.text(o, "spec", "volumeName")),
              Column.of("Capacity", o -> Json.text(o, "status", "capacity", "storage")),
              Column.of("Access Modes", o -> joined(Json.at(o, "spec", "accessModes"))),
              Column.of("StorageClass", o -> Json.text(o, "spec", "storageClassName")),
              AGE);
      case "Event" ->
          List.of(
              new Column(
                  "Last Seen", "string", "", "Last Seen", 0, o -> Column.text(age(lastSeen(o)))),
              Column.of("Type", o -> Json.text(o, "type")),
              Column.of("Reason", o -> Json.text(o, "reason")),
              Column.of("Object", TablePrinter::eventObject),
              Column.of("Message", o -> (Json.text(o, "message") + Json.text(o, "note")).strip()));
      case "Lease" ->
          List.of(NAME, Column.of("Holder", o -> Json.text(o, "spec", "holderIdentity")), AGE);
      case "CustomResourceDefinition" ->
          List.of(
              NAME, Column.of("Created At", o -> Json.text(o, "metadata", "creationTimestamp")));
      default -> List.of(NAME, AGE);
    };
  }

  private static Column declared(PrinterColumn c) {
    return new Column(
        c.name(), c.type(), c.format(), c.description(), c.priority(), o -> cell(c, o));
  }

  private static JsonNode cell(PrinterColumn column, JsonNode object) {
    List<JsonNode> found = JsonPath.find(object, column.jsonPath());
    if (column.type().equals("date")) {
      return Column.text(found.isEmpty() ? "<unknown>" : age(found.getFirst().asText()));
    }
    if (found.isEmpty()) {
      return Column.text(null);
    }
    if (found.size() > 1 || !found.getFirst().isValueNode()) {
      StringJoiner joined = new StringJoiner(",");
      found.forEach(v -> joined.add(v.isValueNode() ? v.asText() : v.toString()));
      return Column.text(joined.toString());
    }
    return found.getFirst();
  }

  private static String readyContainers(JsonNode pod) {
    int ready = 0;
    for (JsonNode status : Json.at(pod, "status", "containerStatuses")) {
      ready += status.path("ready").asBoolean(false) ? 1 : 0;
    }
    return ready + "/" + Json.at(pod, "spec", "containers").size();
  }

  private static String podStatus(JsonNode pod) {
    String status = Json.text(pod, "status", "reason");
    status = status.isEmpty() ? Json.text(pod, "status", "phase") : status;
    for (JsonNode container : Json.at(pod, "status", "containerStatuses")) {
      String waiting = Json.text(container, "state", "waiting", "reason");
      String terminated = Json.text(container, "state", "terminated", "reason");
      if (!waiting.isEmpty()) {
        status = waiting;
      } else if (!terminated.isEmpty()) {
        status = terminated;
      }
    }
    return Json.at(pod, "metadata").has("deletionTimestamp") ? "Terminating" : status;
  }

  private static String restarts(JsonNode pod) {
    int count = 0;
    for (JsonNode status : Json.at(pod, "status", "containerStatuses")) {
      count += status.path("restartCount").asInt(0);
    }
    return Integer.toString(count);
  }

  private static String ports(JsonNode service) {
    StringJoiner ports = new StringJoiner(",");
    Json.at(service, "spec", "ports")
        .forEach(p -> ports.add(p.path("port").asText() + "/" + p.path("protocol").asText("TCP")));
    return orNone(ports.toString());
  }

  private static String pairs(JsonNode map) {
    StringJoiner pairs = new StringJoiner(",");
    map.properties().forEach(e -> pairs.add(e.getKey() + "=" + e.getValue().asText()));
    return orNone(pairs.toString());
  }

  private static String joined(JsonNode array) {
    StringJoiner joined = new StringJoiner(",");
    array.forEach(
        v ->
            joined.add(
                switch (v.asText()) {
                  case "ReadWriteOnce" -> "RWO";
                  case "ReadWriteMany" -> "RWX";
                  case "ReadOnlyMany" -> "ROX";
                  case "ReadWriteOncePod" -> "RWOP";
                  default -> v.asText();
                }));
    return joined.toString();
  }

  private static String condition(JsonNode object, String type) {
    for (JsonNode condition : Json.at(object, "status", "conditions")) {
      if (condition.path("type").asText().equals(type)) {
        return condition.path("status").asText();
      }
    }
    return "";
  }

  private static String eventObject(JsonNode event) {
    JsonNode about =
        event.has("regarding") ? event.path("regarding") : event.path("involvedObject");
    return about.path("kind").asText().toLowerCase(Locale.ROOT) + "/" + about.path("name").asText();
  }

  private static String lastSeen(JsonNode event) {
    return Stream.of("lastTimestamp", "deprecatedLastTimestamp", "eventTime")
        .map(field -> event.path(field).asText(""))
        .filter(time -> !time.isEmpty() && !time.equals("null"))
        .findFirst()
        .orElseGet(() -> Json.text(event, "metadata", "creationTimestamp"));
  }

  private static String orNone(String text) {
    return text.isEmpty() ? "<none>" : text;
  }

  /** How long ago a time is, as kubectl writes it: two units at most, fewer as they grow. */
  static String age(String timestamp) {
    Instant then;
    try {
      then = OffsetDateTime.parse(timestamp).toInstant();
    } catch (DateTimeParseException e) {
      return "<unknown>";
    }
    Duration d = Duration.between(then, Instant.now());
    long seconds = Math.max(0, d.toSeconds());
    if (seconds < 120) {
      return seconds + "s";
    }
    long minutes = seconds / 60;
    if (minutes < 10) {
      return seconds % 60 == 0 ? minutes + "m" : minutes + "m" + seconds % 60 + "s";
    }
    if (minutes < 180) {
      return minutes + "m";
    }
    long hours = minutes / 60;
    if (hours < 8) {
      return minutes % 60 == 0 ? hours + "h" : hours + "h" + minutes % 60 + "m";
    }
    if (hours < 48) {
      return hours + "h";
    }
    long days = hours / 24;
    return days < 8 && hours % 24 != 0 ? days + "d" + hours % 24 + "h" : days + "d";
  }
}
