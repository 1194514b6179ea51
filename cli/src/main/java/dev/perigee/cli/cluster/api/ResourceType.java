package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;

/**
 * A kind that the server serves, in one version.
 *
 * @param group API group, empty for the core
 * @param version for example {@code v1alpha1}
 * @param kind for example {@code PretrainJob}
 * @param plural the name in paths
 * @param singular the name for people
 * @param shortNames what kubectl also takes
 * @param categories groups of kinds that kubectl can list at once
 * @param namespaced whether objects live in a namespace
 * @param subresources of {@code status}, {@code log}, …
 * @param columns what {@code kubectl get} prints, of a custom kind
 * @param custom whether a CRD defined it
 * @param lazySchema its schema, made when first needed
 */
public record ResourceType(
    String group,
    String version,
    String kind,
    String plural,
    String singular,
    List<String> shortNames,
    List<String> categories,
    boolean namespaced,
    Set<String> subresources,
    List<PrinterColumn> columns,
    boolean custom,
    Supplier<Schema> lazySchema) {

  /** One column of {@code kubectl get}. */
  public record PrinterColumn(
      String name, String type, String format, String description, int priority, String jsonPath) {}

  /** {@code group/version}, or only the version in the core group. */
  public String apiVersion() {
    return group.isEmpty() ? version : group + "/" + version;
  }

  /** What objects are stored under, whatever the version. */
  public String storageName() {
    return group.isEmpty() ? plural : plural + "." + group;
  }

  /** The name in messages, for example {@code pretrainjobs.perigee.dev}. */
  public String qualifiedPlural() {
    return storageName();
  }

  /** The kind in messages, for example {@code PretrainJob.perigee.dev}. */
  public String qualifiedKind() {
    return group.isEmpty() ? kind : kind + "." + group;
  }

  /** Whether it is this kind of the core group. */
  public boolean isCore(String coreKind) {
    return group.isEmpty() && kind.equals(coreKind);
  }

  /** Whether the status is written on its own path only. */
  public boolean hasStatus() {
    return subresources.contains("status");
  }

  /** What a field selector may name, as in Kubernetes, of the kinds that are served. */
  public Set<String> selectableFields() {
    Set<String> fields = new HashSet<>(Set.of("metadata.name", "metadata.namespace"));
    if (isCore("Pod")) {
      fields.addAll(
          List.of(
              "spec.nodeName",
              "spec.restartPolicy",
              "spec.schedulerName",
              "spec.serviceAccountName",
              "spec.hostNetwork",
              "status.phase",
              "status.podIP",
              "status.nominatedNodeName"));
    } else if (isCore("Event")) {
      fields.addAll(
          List.of(
              "involvedObject.kind",
              "involvedObject.namespace",
              "involvedObject.name",
              "involvedObject.uid",
              "involvedObject.apiVersion",
              "involvedObject.resourceVersion",
              "involvedObject.fieldPath",
              "reason",
              "reportingComponent",
              "type"));
    } else if (isCore("Secret")) {
      fields.add("type");
    } else if (isCore("Namespace")) {
      fields.add("status.phase");
    } else if (isCore("Node")) {
      fields.add("spec.unschedulable");
    }
    return fields;
  }

  /** The schema of its objects. */
  public Schema schema() {
    return lazySchema.get();
  }

  /** An object of this kind with this version's name on it. */
  public ObjectNode stamped(JsonNode object) {
    ObjectNode out = Json.object();
    out.put("apiVersion", apiVersion()).put("kind", kind);
    object
        .properties()
        .forEach(
            field -> {
              if (!field.getKey().equals("apiVersion") && !field.getKey().equals("kind")) {
                out.set(field.getKey(), field.getValue());
              }
            });
    return out;
  }
}
