package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.introspect.BeanPropertyDefinition;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Endpoints;
import io.fabric8.kubernetes.api.model.Event;
import io.fabric8.kubernetes.api.model.FieldsV1;
import io.fabric8.kubernetes.api.model.IntOrString;
import io.fabric8.kubernetes.api.model.MicroTime;
import io.fabric8.kubernetes.api.model.Namespace;
import io.fabric8.kubernetes.api.model.Node;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.PersistentVolumeClaim;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Quantity;
import io.fabric8.kubernetes.api.model.Secret;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.ServiceAccount;
import io.fabric8.kubernetes.api.model.apiextensions.v1.CustomResourceDefinition;
import io.fabric8.kubernetes.api.model.apiextensions.v1.JSONSchemaProps;
import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * The kinds of Kubernetes' own that the server serves. Their schemas are read off the client
 * library's classes; how their lists merge is Kubernetes' published table ({@code
 * x-kubernetes-patch-merge-key} and {@code x-kubernetes-list-map-keys} of its OpenAPI document).
 */
final class BuiltinKinds {
  private static final ObjectMapper CLASSES = new ObjectMapper();

  /** The list fields that are not atomic, by class and field, with the keys of their entries. */
  private static final Map<String, List<String>> LIST_KEYS =
      Map.ofEntries(
          Map.entry("PodSpec.containers", List.of("name")),
          Map.entry("PodSpec.initContainers", List.of("name")),
          Map.entry("PodSpec.ephemeralContainers", List.of("name")),
          Map.entry("PodSpec.volumes", List.of("name")),
          Map.entry("PodSpec.imagePullSecrets", List.of("name")),
          Map.entry("PodSpec.hostAliases", List.of("ip")),
          Map.entry("PodSpec.resourceClaims", List.of("name")),
          Map.entry(
              "PodSpec.topologySpreadConstraints", List.of("topologyKey", "whenUnsatisfiable")),
          Map.entry("PodStatus.podIPs", List.of("ip")),
          Map.entry("PodStatus.conditions", List.of("type")),
          Map.entry("Container.env", List.of("name")),
          Map.entry("Container.ports", List.of("containerPort", "protocol")),
          Map.entry("Container.volumeMounts", List.of("mountPath")),
          Map.entry("Container.volumeDevices", List.of("devicePath")),
          Map.entry("ServiceSpec.ports", List.of("port", "protocol")),
          Map.entry("ServiceStatus.conditions", List.of("type")),
          Map.entry("ServiceAccount.secrets", List.of("name")),
          Map.entry("NamespaceStatus.conditions", List.of("type")),
          Map.entry("NodeStatus.conditions", List.of("type")),
          Map.entry("NodeStatus.addresses", List.of("type")),
          Map.entry("PersistentVolumeClaimStatus.conditions", List.of("type")),
          Map.entry("CustomResourceDefinitionStatus.conditions", List.of("type")),
          Map.entry("ObjectMeta.ownerReferences", List.of("uid")));

  private static final Set<String> SETS =
      Set.of("ObjectMeta.finalizers", "PersistentVolumeClaimSpec.accessModes");

  private BuiltinKinds() {}

  /** The schema of an object's metadata. */
  static final Supplier<Schema> METADATA = lazily(() -> ofClass(ObjectMeta.class));

  /** Every built-in kind. */
  static List<ResourceType> all() {
    return List.of(
        core(Namespace.class, "namespaces", List.of("ns"), false, Set.of("status", "finalize")),
        core(Pod.class, "pods", List.of("po"), true, Set.of("status", "log", "binding")),
        core(Service.class, "services", List.of("svc"), true, Set.of("status")),
        core(ConfigMap.class, "configmaps", List.of("cm"), true, Set.of()),
        core(Secret.class, "secrets", List.of(), true, Set.of()),
        core(Event.class, "events", List.of("ev"), true, Set.of()),
        core(
            PersistentVolumeClaim.class,
            "persistentvolumeclaims",
            List.of("pvc"),
            true,
            Set.of("status")),
        core(Node.class, "nodes", List.of("no"), false, Set.of("status")),
        core(ServiceAccount.class, "serviceaccounts", List.of("sa"), true, Set.of()),
        core(Endpoints.class, "endpoints", List.of("ep"), true, Set.of()),
        type(
            io.fabric8.kubernetes.api.model.events.v1.Event.class,
            "events.k8s.io",
            "events",
            List.of("ev"),
            true,
            Set.of()),
        type(Lease.class, "coordination.k8s.io", "leases", List.of(), true, Set.of()),
        type(
            CustomResourceDefinition.class,
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            List.of("crd", "crds"),
            false,
            Set.of("status")));
  }

  private static ResourceType core(
      Class<?> model, String plural, List<String> shortNames, boolean namespaced, Set<String> sub) {
    return type(model, "", plural, shortNames, namespaced, sub);
  }

  private static ResourceType type(
      Class<?> model,
      String group,
      String plural,
      List<String> shortNames,
      boolean namespaced,
      Set<String> subresources) {
    String kind = model.getSimpleName();
    return new ResourceType(
        group,
        "v1",
        kind,
        plural,
        kind.toLowerCase(Locale.ROOT),
        shortNames,
        plural.equals("pods") || plural.equals("services") ? List.of("all") : List.of(),
        namespaced,
        subresources,
        List.of(),
        false,
        lazily(() -> ofClass(model)));
  }

  /** A supplier that asks once. */
  static Supplier<Schema> lazily(Supplier<Schema> make) {
    return new Supplier<>() {
      private Schema made;

      @Override
      public synchronized Schema get() {
        if (made == null) {
          made = make.get();
        }
        return made;
      }
    };
  }

  private static Schema ofClass(Class<?> model) {
    return new Schema(describe(CLASSES.constructType(model), new HashSet<>()));
  }

  private static ObjectNode describe(JavaType type, Set<Class<?>> above) {
    Class<?> raw = type.getRawClass();
    ObjectNode schema = Json.object();
    if (raw == IntOrString.class || raw == Quantity.class) {
      return schema.put("x-kubernetes-int-or-string", true);
    }
    if (raw == String.class || raw == MicroTime.class || raw.isEnum()) {
      return schema.put("type", "string");
    }
    if (raw == Boolean.class || raw == boolean.class) {
      return schema.put("type", "boolean");
    }
    if (raw == Integer.class || raw == Long.class || raw == int.class || raw == long.class) {
      return schema.put("type", "integer");
    }
    if (raw == Double.class || raw == Float.class) {
      return schema.put("type", "number");
    }
    if (type.isMapLikeType()) {
      schema.put("type", "object");
      schema.set("additionalProperties", describe(type.getContentType(), above));
      return schema;
    }
    if (type.isCollectionLikeType()) {
      schema.put("type", "array");
      schema.set("items", describe(type.getContentType(), above));
      return schema;
    }
    if (!raw.getName().startsWith("io.fabric8.kubernetes.api.model")
        || raw == JSONSchemaProps.class
        || raw == FieldsV1.class
        || above.contains(raw)) {
      return schema.put("x-kubernetes-preserve-unknown-fields", true);
    }
    Set<Class<?>> path = new HashSet<>(above);
    path.add(raw);
    schema.put("type", "object");
    ObjectNode properties = schema.putObject("properties");
    for (BeanPropertyDefinition property :
        CLASSES.getDeserializationConfig().introspect(type).findProperties()) {
      if (!property.hasField() || property.getName().equals("additionalProperties")) {
        continue;
      }
      ObjectNode described = describe(property.getField().getType(), path);
      String field = raw.getSimpleName() + "." + property.getName();
      if (SETS.contains(field)) {
        described.put("x-kubernetes-list-type", "set");
      }
      List<String> keys = LIST_KEYS.get(field);
      if (keys != null) {
        described.put("x-kubernetes-list-type", "map");
        ArrayNode names = described.putArray("x-kubernetes-list-map-keys");
        keys.forEach(names::add);
        if (keys.contains("protocol")) {
          ((ObjectNode) described.at("/items/properties/protocol")).put("default", "TCP");
        }
      }
      properties.set(property.getName(), described);
    }
    return schema;
  }
}
