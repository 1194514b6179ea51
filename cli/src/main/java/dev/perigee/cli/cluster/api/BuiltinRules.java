package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError.Cause;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** What the server knows about kinds beyond their schemas: names, labels, defaults, and rules. */
final class BuiltinRules {
  private static final String SUBDOMAIN =
      "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
  private static final String LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
  private static final Pattern LABEL_VALUE =
      Pattern.compile("(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?");

  private BuiltinRules() {}

  /** What is wrong with an object's name and labels. */
  static List<Cause> checkMetadata(ResourceType type, ObjectNode object) {
    List<Cause> causes = new ArrayList<>();
    String name = Json.text(object, "metadata", "name");
    boolean label = type.isCore("Service") || type.isCore("Namespace");
    int longest = label ? 63 : 253;
    if (name.length() > longest) {
      causes.add(
          Cause.invalid(
              "metadata.name",
              "\"" + name + "\"",
              "must be no more than " + longest + " characters"));
    } else if (!name.matches(label ? LABEL : SUBDOMAIN)) {
      String pattern = label ? LABEL : SUBDOMAIN;
      String what =
          (label
                  ? "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or"
                      + " '-', and must start and end with an alphanumeric character (e.g."
                      + " 'my-name'"
                  : "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric"
                      + " characters, '-' or '.', and must start and end with an alphanumeric"
                      + " character (e.g. 'example.com'")
              + ", regex used for validation is '"
              + pattern
              + "')";
      causes.add(Cause.invalid("metadata.name", "\"" + name + "\"", what));
    }
    for (Map.Entry<String, JsonNode> l : Json.at(object, "metadata", "labels").properties()) {
      String value = l.getValue().asText();
      if (value.length() > 63 || !LABEL_VALUE.matcher(value).matches()) {
        causes.add(
            Cause.invalid(
                "metadata.labels",
                "\"" + value + "\"",
                "a valid label must be an empty string or consist of alphanumeric characters, '-',"
                    + " '_' or '.', must start and end with an alphanumeric character, and be no"
                    + " more than 63 characters"));
      }
    }
    return causes;
  }

  /** Sets what Kubernetes sets by itself on objects of its own kinds. */
  static void setDefaults(ResourceType type, ObjectNode object, boolean creating) {
    if (type.custom() || !object.path("metadata").isObject()) {
      return;
    }
    switch (type.kind()) {
      case "Pod" -> defaultPod(object, creating);
      case "Namespace" -> {
        Json.child(Json.metadata(object), "labels")
            .put("kubernetes.io/metadata.name", Json.text(object, "metadata", "name"));
        if (creating) {
          Json.child(object, "spec").putArray("finalizers").add("kubernetes");
          Json.child(object, "status").put("phase", "Active");
        }
      }
      case "PersistentVolumeClaim" -> {
        putIfAbsent(Json.child(object, "spec"), "volumeMode", "Filesystem");
        if (creating) {
          Json.child(object, "status").put("phase", "Pending");
        }
      }
      case "Service" -> defaultService(Json.child(object, "spec"));
      case "Secret" -> {
        putIfAbsent(object, "type", "Opaque");
        if (object.remove("stringData") instanceof ObjectNode plain) {
          ObjectNode data = Json.child(object, "data");
          plain
              .properties()
              .forEach(
                  e ->
                      data.put(
                          e.getKey(),
                          Base64.getEncoder()
                              .encodeToString(
                                  e.getValue().asText().getBytes(StandardCharsets.UTF_8))));
        }
      }
      case "CustomResourceDefinition" -> defaultCrd(object, creating);
      default -> {}
    }
  }

  private static void defaultPod(ObjectNode pod, boolean creating) {
    ObjectNode spec = Json.child(pod, "spec");
    putIfAbsent(spec, "restartPolicy", "Always");
    putIfAbsent(spec, "dnsPolicy", "ClusterFirst");
    putIfAbsent(spec, "schedulerName", "default-scheduler");
    if (!spec.has("terminationGracePeriodSeconds")) {
      spec.put("terminationGracePeriodSeconds", 30);
    }
    for (String list : List.of("containers", "initContainers")) {
      for (JsonNode c : spec.path(list)) {
        if (c instanceof ObjectNode container) {
          putIfAbsent(container, "imagePullPolicy", "IfNotPresent");
          putIfAbsent(container, "terminationMessagePath", "/dev/termination-log");
          putIfAbsent(container, "terminationMessagePolicy", "File");
          for (String probe : List.of("readinessProbe", "livenessProbe", "startupProbe")) {
            if (container.get(probe) instanceof ObjectNode p) {
              defaultProbe(p);
            }
          }
          for (JsonNode variable : container.path("env")) {
            if (variable.path("valueFrom").path("fieldRef") instanceof ObjectNode reference) {
              putIfAbsent(reference, "apiVersion", "v1");
            }
          }
        }
      }
    }
    for (JsonNode volume : spec.path("volumes")) {
      if (volume.get("configMap") instanceof ObjectNode source && !source.has("defaultMode")) {
        source.put("defaultMode", 420);
      }
    }
    if (creating) {
      ObjectNode status = pod.putObject("status");
      status.put("phase", "Pending");
      status.put("qosClass", "BestEffort");
    }
  }

  private static void defaultProbe(ObjectNode probe) {
    Map.of("periodSeconds", 10, "timeoutSeconds", 1, "successThreshold", 1, "failureThreshold", 3)
        .forEach(
            (field, value) -> {
              if (!probe.has(field)) {
                probe.put(field, value);
              }
            });
    if (probe.get("httpGet") instanceof ObjectNode http) {
      putIfAbsent(http, "scheme", "HTTP");
      putIfAbsent(http, "path", "/");
    }
  }

  private static void defaultService(ObjectNode spec) {
    putIfAbsent(spec, "type", "ClusterIP");
    putIfAbsent(spec, "sessionAffinity", "None");
    for (JsonNode p : spec.path("ports")) {
      if (p instanceof ObjectNode port && !port.has("targetPort")) {
        port.set("targetPort", port.get("port"));
      }
    }
  }

  private static void defaultCrd(ObjectNode crd, boolean creating) {
    ObjectNode names = Json.child(Json.child(crd, "spec"), "names");
    String kind = Json.text(names, "kind");
    putIfAbsent(names, "singular", kind.toLowerCase(Locale.ROOT));
    putIfAbsent(names, "listKind", kind + "List");
    Json.child(Json.child(crd, "spec"), "conversion").put("strategy", "None");
    ObjectNode status = Json.child(crd, "status");
    status.set("acceptedNames", names.deepCopy());
    ArrayNode stored = status.putArray("storedVersions");
    for (JsonNode version : Json.at(crd, "spec", "versions")) {
      if (version.path("storage").asBoolean(false)) {
        stored.add(version.path("name").asText());
      }
    }
    if (creating) {
      ArrayNode conditions = status.putArray("conditions");
      condition(conditions, "NamesAccepted", "NoConflicts", "no conflicts found");
      condition(
          conditions,
          "Established",
          "InitialNamesAccepted",
          "the initial names have been accepted");
    }
  }

  private static void condition(ArrayNode conditions, String type, String reason, String message) {
    conditions
        .addObject()
        .put("type", type)
        .put("status", "True")
        .put("lastTransitionTime", Instant.now().truncatedTo(ChronoUnit.SECONDS).toString())
        .put("reason", reason)
        .put("message", message);
  }

  /** What is wrong with an object of a built-in kind, beyond its schema. */
  static List<Cause> check(ResourceType type, ObjectNode object, ObjectNode old) {
    List<Cause> causes = new ArrayList<>();
    if (type.custom()) {
      return causes;
    }
    switch (type.kind()) {
      case "Pod" -> checkPod(object, old, causes);
      case "Service" -> {
        String ip = Json.text(object, "spec", "clusterIP");
        if (!ip.equals("None")) {
          causes.add(
              Cause.invalid(
                  "spec.clusterIP",
                  "\"" + ip + "\"",
                  "the embedded cluster has no virtual addresses; use None (a headless service)"));
        }
      }
      case "CustomResourceDefinition" -> checkCrd(object, causes);
      case "ConfigMap", "Secret" -> {
        if (old != null
            && old.path("immutable").asBoolean(false)
            && !old.path("data").equals(object.path("data"))) {
          causes.add(
              new Cause(
                  "FieldValueForbidden",
                  "data",
                  "Forbidden: field is immutable when `immutable` is set"));
        }
      }
      default -> {}
    }
    return causes;
  }

  private static void checkPod(ObjectNode pod, ObjectNode old, List<Cause> causes) {
    if (old != null) {
      JsonNode fixed = fixedPart(pod);
      if (Json.text(old, "spec", "nodeName").isEmpty()) {
        ((ObjectNode) fixed).remove("nodeName"); // being bound to a node
      }
      if (!fixed.equals(fixedPart(old))) {
        causes.add(
            new Cause(
                "FieldValueForbidden",
                "spec",
                "Forbidden: pod updates may not change fields other than"
                    + " `spec.containers[*].image`, `spec.activeDeadlineSeconds`,"
                    + " `spec.tolerations` and `spec.terminationGracePeriodSeconds`"));
      }
      return;
    }
    JsonNode containers = Json.at(pod, "spec", "containers");
    if (containers.isEmpty()) {
      causes.add(Cause.required("spec.containers", ""));
    }
    Set<String> names = new HashSet<>();
    Set<String> volumes = new HashSet<>();
    for (JsonNode volume : Json.at(pod, "spec", "volumes")) {
      volumes.add(Json.text(volume, "name"));
    }
    for (int i = 0; i < containers.size(); i++) {
      JsonNode container = containers.get(i);
      String at = "spec.containers[" + i + "]";
      String name = Json.text(container, "name");
      if (name.isEmpty()) {
        causes.add(Cause.required(at + ".name", ""));
      } else if (!names.add(name)) {
        causes.add(
            new Cause("FieldValueDuplicate", at + ".name", "Duplicate value: \"" + name + "\""));
      }
      if (Json.text(container, "image").isEmpty()) {
        causes.add(Cause.required(at + ".image", ""));
      }
      checkQuantities(container, at + ".resources", causes);
      int m = 0;
      for (JsonNode mount : container.path("volumeMounts")) {
        String volume = Json.text(mount, "name");
        if (!volumes.contains(volume)) {
          causes.add(
              new Cause(
                  "FieldValueNotFound",
                  at + ".volumeMounts[" + m + "].name",
                  "Not found: \"" + volume + "\""));
        }
        m++;
      }
    }
  }

  private static void checkQuantities(JsonNode container, String at, List<Cause> causes) {
    for (String part : List.of("limits", "requests")) {
      for (Map.Entry<String, JsonNode> e : container.path("resources").path(part).properties()) {
        if (!Quantities.isQuantity(e.getValue().asText())) {
          causes.add(
              Cause.invalid(
                  at + "." + part + "." + e.getKey(),
                  "\"" + e.getValue().asText() + "\"",
                  "must be a quantity such as 500m, 2 or 4Gi"));
        }
      }
    }
  }

  private static JsonNode fixedPart(ObjectNode pod) {
    ObjectNode spec = pod.path("spec").deepCopy();
    spec.remove(List.of("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"));
    for (String list : List.of("containers", "initContainers")) {
      spec.path(list).forEach(c -> ((ObjectNode) c).remove("image"));
    }
    return spec;
  }

  private static void checkCrd(ObjectNode crd, List<Cause> causes) {
    String expected =
        Json.text(crd, "spec", "names", "plural") + "." + Json.text(crd, "spec", "group");
    String name = Json.text(crd, "metadata", "name");
    if (!name.equals(expected)) {
      causes.add(
          Cause.invalid(
              "metadata.name", "\"" + name + "\"", "must be spec.names.plural+\".\"+spec.group"));
    }
    int storage = 0;
    int i = 0;
    for (JsonNode version : Json.at(crd, "spec", "versions")) {
      String at = "spec.versions[" + i++ + "].schema.openAPIV3Schema";
      storage += version.path("storage").asBoolean(false) ? 1 : 0;
      JsonNode schema = version.path("schema").path("openAPIV3Schema");
      if (!schema.isObject()) {
        causes.add(Cause.required(at, "schemas are required"));
      } else {
        causes.addAll(CelRules.compile(new Schema(schema), at));
      }
    }
    if (storage != 1) {
      causes.add(
          Cause.invalid(
              "spec.versions",
              Integer.toString(storage),
              "must have exactly one version marked as storage version"));
    }
  }

  private static void putIfAbsent(ObjectNode object, String field, String value) {
    if (!object.has(field)) {
      object.put(field, value);
    }
  }
}
