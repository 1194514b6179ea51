package dev.perigee.operator;

import dev.perigee.api.GangFailure;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.javaoperatorsdk.operator.api.monitoring.Metrics;
import io.javaoperatorsdk.operator.api.reconciler.RetryInfo;
import io.prometheus.client.Collector;
import io.prometheus.client.CollectorRegistry;
import io.prometheus.client.Counter;
import io.prometheus.client.Gauge;
import io.prometheus.client.GaugeMetricFamily;
import io.prometheus.client.Histogram;
import io.prometheus.client.exporter.common.TextFormat;
import io.prometheus.client.hotspot.GarbageCollectorExports;
import io.prometheus.client.hotspot.MemoryPoolsExports;
import io.prometheus.client.hotspot.StandardExports;
import io.prometheus.client.hotspot.ThreadExports;
import java.io.IOException;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/** What the operator says of itself in Prometheus' text format; docs/metrics.md describes it. */
public final class OperatorMetrics implements Metrics {
  private final CollectorRegistry registry = new CollectorRegistry();
  private final Counter reconciliations =
      Counter.build("perigee_operator_reconciliations_total", "Reconciliations by their outcome")
          .labelNames("kind", "outcome")
          .register(registry);
  private final Histogram seconds =
      Histogram.build("perigee_operator_reconcile_seconds", "Time of a reconciliation")
          .labelNames("controller")
          .buckets(0.001, 0.005, 0.025, 0.1, 0.5, 2, 10, 60)
          .register(registry);
  private final Gauge leader =
      Gauge.build("perigee_operator_leader", "1 for the replica that works, else 0")
          .register(registry);

  private final Counter failures =
      Counter.build("perigee_gang_failures_total", "Times that a gang broke")
          .labelNames("kind", "reason", "action")
          .register(registry);
  private final Counter lostSteps =
      Counter.build("perigee_lost_steps_total", "Steps that have to be taken again")
          .labelNames("kind")
          .register(registry);
  private final Histogram starts =
      Histogram.build("perigee_gang_start_seconds", "Time of a gang's start to its first step")
          .labelNames("kind")
          .buckets(5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
          .register(registry);

  /** Metrics without jobs. */
  public OperatorMetrics() {
    new StandardExports().register(registry);
    new MemoryPoolsExports().register(registry);
    new GarbageCollectorExports().register(registry);
    new ThreadExports().register(registry);
  }

  /** What Prometheus reads. */
  public String text() {
    StringWriter text = new StringWriter();
    try {
      TextFormat.write004(text, registry.metricFamilySamples());
    } catch (IOException e) {
      throw new UncheckedIOException(e); // of a StringWriter
    }
    return text.toString();
  }

  /**
   * Adds the jobs that there are, counted anew at each reading.
   *
   * @param kind kind of the jobs
   * @param byReason how many jobs have a reason of the condition Ready
   */
  void jobs(String kind, Supplier<Map<String, Long>> byReason) {
    registry.register(
        new Collector() {
          @Override
          public List<MetricFamilySamples> collect() {
            GaugeMetricFamily jobs =
                new GaugeMetricFamily(
                    "perigee_jobs",
                    "Jobs by the reason of their condition Ready",
                    List.of("kind", "reason"));
            byReason.get().forEach((reason, n) -> jobs.addMetric(List.of(kind, reason), n));
            return List.of(jobs);
          }
        });
  }

  /** A gang of that kind broke. */
  public void broke(String kind, GangFailure failure, long steps) {
    String action = failure.action() == null ? "" : failure.action().name();
    failures.labels(kind, failure.reason(), action).inc();
    lostSteps.labels(kind).inc((double) steps);
  }

  /** A gang of that kind took its first step. */
  public void started(String kind, Duration took) {
    starts.labels(kind).observe(took.toMillis() / 1000.0);
  }

  void leading(boolean leads) {
    leader.set(leads ? 1 : 0);
  }

  @Override
  public void reconciliationSucceeded(HasMetadata resource, Map<String, Object> metadata) {
    reconciliations.labels(resource.getKind(), "success").inc();
  }

  @Override
  public void reconciliationFailed(
      HasMetadata resource, RetryInfo retry, Exception error, Map<String, Object> metadata) {
    reconciliations.labels(resource.getKind(), "error").inc();
  }

  @Override
  public <T> T timeControllerExecution(ControllerExecution<T> execution) throws Exception {
    try (Histogram.Timer _ = seconds.labels(execution.controllerName()).startTimer()) {
      return execution.execute();
    }
  }
}
