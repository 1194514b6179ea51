package dev.perigee.operator;

import static java.util.stream.Collectors.counting;
import static java.util.stream.Collectors.groupingBy;

import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.operator.election.LeaderElection;
import dev.perigee.operator.election.LeaderElector;
import dev.perigee.operator.pretrain.PretrainJobReconciler;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.javaoperatorsdk.operator.Operator;
import io.javaoperatorsdk.operator.OperatorException;
import io.javaoperatorsdk.operator.api.config.ConfigurationService;
import io.javaoperatorsdk.operator.processing.Controller;
import io.javaoperatorsdk.operator.processing.event.source.informer.InformerEventSource;
import io.javaoperatorsdk.operator.processing.retry.GenericRetry;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;

/**
 * The operator at work, in a process of its own or inside another.
 *
 * <p>The parts of the SDK are started here and not by its {@code Operator}, which would elect a
 * leader by the replicas' clocks (see {@link LeaderElector}). A replica that follows watches
 * everything, so that it has nothing to read when it leads.
 */
public final class OperatorRuntime implements AutoCloseable {
  private final CountDownLatch closed = new CountDownLatch(1);
  private final OperatorMetrics metrics = new OperatorMetrics();
  private final NodeWatch nodes;
  private final ConfigurationService configuration;
  private final Operator operator;
  private final Controller<PretrainJob> controller;
  private final OrphanSweep sweep;
  private volatile LeaderElector elector;
  private volatile boolean started;
  private volatile boolean closing;
  private volatile boolean lost;

  private OperatorRuntime(KubernetesClient client, OperatorOptions options) {
    nodes = NodeWatch.start(client);
    configuration =
        ConfigurationService.newOverriddenConfigurationService(
            overrider ->
                overrider
                    .withKubernetesClient(client)
                    .withCloseClientOnStop(false)
                    .withMetrics(metrics)
                    .checkingCRDAndValidateLocalModel(false) // needs rights on the whole cluster
                    .withUseSSAToPatchPrimaryResource(true)
                    .withReconciliationTerminationTimeout(Duration.ofSeconds(5)));
    operator = new Operator(configuration);
    controller =
        (Controller<PretrainJob>)
            operator.register(
                new PretrainJobReconciler(options, nodes, metrics),
                overrider -> {
                  // Until it works: an API server that is away for a while comes back.
                  overrider.withRetry(
                      new GenericRetry()
                          .withoutMaxAttempts()
                          .setInitialInterval(Duration.ofSeconds(1))
                          .setIntervalMultiplier(2)
                          .setMaxInterval(30_000));
                  if (!options.namespaces().isEmpty()) {
                    overrider.settingNamespaces(options.namespaces());
                  }
                });
    sweep = new OrphanSweep(client, this::pods, options.clock());
    metrics.jobs(PretrainJob.KIND, () -> byReason(controller));
  }

  /**
   * Starts an operator that is the only one. It works until closed.
   *
   * @see #start(KubernetesClient, OperatorOptions, Optional)
   */
  public static OperatorRuntime start(KubernetesClient client, OperatorOptions options) {
    return start(client, options, Optional.empty());
  }

  /**
   * Starts the operator. It works until closed, while it leads.
   *
   * @param client how to reach the cluster; it stays the caller's and is not closed
   * @param options how to behave
   * @param election how replicas agree on who works; empty when there is only this one
   * @throws io.javaoperatorsdk.operator.OperatorException when the cluster cannot be reached, or
   *     lacks the custom resource definitions, or has older ones
   */
  public static OperatorRuntime start(
      KubernetesClient client, OperatorOptions options, Optional<LeaderElection> election) {
    Definitions.problem(client)
        .ifPresent(
            problem -> {
              throw new OperatorException(problem);
            });
    OperatorRuntime runtime = new OperatorRuntime(client, options);
    try {
      runtime.watch();
      if (election.isEmpty()) {
        runtime.lead();
      } else {
        runtime.elector =
            LeaderElector.start(client, election.get(), runtime::lead, runtime::stoppedLeading);
      }
    } catch (RuntimeException e) {
      runtime.close(); // what watches already; whoever starts it may try again
      throw e;
    }
    return runtime;
  }

  private void watch() {
    metrics.leading(false);
    configuration.getExecutorServiceManager().start(configuration);
    controller.start(false);
    started = true;
  }

  private void lead() {
    controller.startEventProcessing();
    sweep.start();
    metrics.leading(true);
  }

  /** The pods of all jobs, as the controller knows them. */
  private Stream<Pod> pods() {
    return controller.getEventSourceManager().getEventSourcesFor(Pod.class).stream()
        .filter(InformerEventSource.class::isInstance)
        .map(source -> (InformerEventSource<Pod, PretrainJob>) source)
        .flatMap(source -> source.list(pod -> true));
  }

  private void stoppedLeading() {
    metrics.leading(false);
    sweep.close();
    lost = true;
    closed.countDown();
  }

  /** Stops watching and reconciling; what runs in the cluster goes on. The Lease is given back. */
  @Override
  public synchronized void close() {
    if (!closing) {
      closing = true;
      sweep.close();
      controller.stop();
      operator.stop(); // its threads
      metrics.leading(false);
      if (elector != null) {
        elector.close();
      }
      nodes.close();
      closed.countDown();
    }
  }

  /**
   * Waits until another thread closes this, or until another replica may lead.
   *
   * @return false when the Lease was lost: a process must end then, and begin anew as a follower
   */
  public boolean awaitClose() throws InterruptedException {
    closed.await();
    return !lost;
  }

  /** What Prometheus reads. */
  public OperatorMetrics metrics() {
    return metrics;
  }

  /** Why this replica is not ready, empty when it watches everything that it should. */
  public Optional<String> notReady() {
    if (closing || lost) {
      return Optional.of("stopping");
    }
    if (!started) {
      return Optional.of("starting");
    }
    List<String> unwatched =
        Stream.concat(
                controller.getControllerHealthInfo().unhealthyEventSources().keySet().stream()
                    .sorted(),
                nodes.isCutOff() ? Stream.of("nodes") : Stream.empty())
            .toList();
    return unwatched.isEmpty()
        ? Optional.empty()
        : Optional.of("not watching: " + String.join(", ", unwatched));
  }

  private static Map<String, Long> byReason(Controller<PretrainJob> controller) {
    try (Stream<PretrainJob> jobs =
        controller.getEventSourceManager().getControllerEventSource().list()) {
      return jobs.collect(
          groupingBy(
              job ->
                  Optional.ofNullable(job.getStatus())
                      .flatMap(status -> status.condition(ConditionType.Ready))
                      .map(Condition::reason)
                      .orElse("Unobserved"),
              counting()));
    }
  }
}
