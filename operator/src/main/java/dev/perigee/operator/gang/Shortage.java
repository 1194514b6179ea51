package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodSpec;
import io.fabric8.kubernetes.api.model.Quantity;
import io.fabric8.kubernetes.api.model.ResourceRequirements;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * What a pod asks for that no node of the cluster could ever give: a scheduler says how many nodes
 * lack something, not how much there would have to be.
 */
final class Shortage {
  private Shortage() {}

  /** A line about it, empty when some node would be large enough, or nodes may not be read. */
  static Optional<String> of(Pod pod, Nodes nodes) {
    PodSpec spec = pod.getSpec();
    Map<String, String> labels = Objects.requireNonNullElse(spec.getNodeSelector(), Map.of());
    Optional<Map<String, Quantity>> most = nodes.most(labels);
    if (most.isEmpty()) {
      return Optional.empty();
    }
    String suchNodes = labels.isEmpty() ? "" : " with the labels " + new TreeMap<>(labels);
    if (most.get().isEmpty()) {
      return Optional.of("There is no node" + suchNodes + ".");
    }
    Map<String, Quantity> lacking = new TreeMap<>(requests(spec));
    lacking.entrySet().removeIf(e -> !exceeds(e.getValue(), most.get().get(e.getKey())));
    if (lacking.isEmpty()) {
      return Optional.empty();
    }
    Map<String, Quantity> largest = new TreeMap<>();
    lacking
        .keySet()
        .forEach(name -> largest.put(name, most.get().getOrDefault(name, new Quantity("0"))));
    return Optional.of(
        "Each pod asks for "
            + said(lacking)
            + ", but the most that a node"
            + suchNodes
            + " has is "
            + said(largest)
            + "; ask for less in resources, or add a larger node.");
  }

  private static String said(Map<String, Quantity> amounts) {
    return amounts.entrySet().stream()
        .map(e -> e.getKey() + ": " + e.getValue())
        .collect(Collectors.joining(", "));
  }

  /** What the scheduler counts: requests, and limits where only those are given. */
  private static Map<String, Quantity> requests(PodSpec spec) {
    Map<String, Quantity> sums = new TreeMap<>();
    spec.getContainers().stream()
        .map(container -> container.getResources())
        .filter(Objects::nonNull)
        .map(Shortage::requests)
        .forEach(asked -> asked.forEach((name, amount) -> sums.merge(name, amount, Quantity::add)));
    return sums;
  }

  private static Map<String, Quantity> requests(ResourceRequirements resources) {
    Map<String, Quantity> asked = new TreeMap<>();
    asked.putAll(Objects.requireNonNullElse(resources.getLimits(), Map.of()));
    asked.putAll(Objects.requireNonNullElse(resources.getRequests(), Map.of()));
    return asked;
  }

  private static boolean exceeds(Quantity asked, Quantity most) {
    return most == null
        ? asked.getNumericalAmount().signum() > 0
        : asked.getNumericalAmount().compareTo(most.getNumericalAmount()) > 0;
  }
}
