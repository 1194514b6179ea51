package dev.perigee.operator.bench;

import io.fabric8.kubernetes.client.KubernetesClient;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What an API server was asked to write so far, by its own count (metric {@code
 * apiserver_request_total}): the same on a quiet machine and on a busy one.
 *
 * @param counts requests by {@code <verb> <resource>[/<subresource>]}
 */
record ApiWrites(Map<String, Long> counts) {
  private static final Set<String> WRITES = Set.of("POST", "PUT", "PATCH", "APPLY", "DELETE");
  private static final Set<String> RESOURCES =
      Set.of("pods", "configmaps", "services", "events", "networkpolicies", "pretrainjobs");
  private static final Pattern SAMPLE =
      Pattern.compile("(?m)^apiserver_request_total\\{([^}]*)} (\\S+)$");
  private static final Pattern LABEL = Pattern.compile("(\\w+)=\"([^\"]*)\"");

  /** Reads them. */
  static ApiWrites of(KubernetesClient client) {
    Map<String, Long> counts = new TreeMap<>();
    Matcher sample = SAMPLE.matcher(client.raw("/metrics"));
    while (sample.find()) {
      Map<String, String> labels = new TreeMap<>();
      Matcher label = LABEL.matcher(sample.group(1));
      while (label.find()) {
        labels.put(label.group(1), label.group(2));
      }
      String verb = labels.getOrDefault("verb", "");
      String resource = labels.getOrDefault("resource", "");
      if (WRITES.contains(verb) && RESOURCES.contains(resource)) {
        String part = labels.getOrDefault("subresource", "");
        counts.merge(
            verb + " " + resource + (part.isEmpty() ? "" : "/" + part),
            (long) Double.parseDouble(sample.group(2)),
            Long::sum);
      }
    }
    return new ApiWrites(counts);
  }

  /** What was written since. */
  ApiWrites since(ApiWrites before) {
    Map<String, Long> more = new TreeMap<>();
    counts.forEach(
        (request, count) -> {
          long difference = count - before.counts.getOrDefault(request, 0L);
          if (difference > 0) {
            more.put(request, difference);
          }
        });
    return new ApiWrites(more);
  }

  /** How many in all, without those that others than the operator make. */
  long without(Set<String> others) {
    return counts.entrySet().stream()
        .filter(e -> !others.contains(e.getKey()))
        .mapToLong(Map.Entry::getValue)
        .sum();
  }
}
