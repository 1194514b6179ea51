package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobSpec;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.OperatorMetrics;
import dev.perigee.operator.OperatorOptions;
import dev.perigee.operator.gang.ExactDeletion;
import dev.perigee.operator.gang.GangLabels;
import dev.perigee.operator.gang.GangWriter;
import dev.perigee.operator.gang.Nodes;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.PodState;
import dev.perigee.operator.gang.StartTrouble;
import dev.perigee.operator.placement.QueuePosition;
import dev.perigee.operator.placement.SchedulerDiscovery;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunStatus;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.ObjectMetaBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.javaoperatorsdk.operator.api.config.informer.InformerEventSourceConfiguration;
import io.javaoperatorsdk.operator.api.reconciler.Context;
import io.javaoperatorsdk.operator.api.reconciler.ControllerConfiguration;
import io.javaoperatorsdk.operator.api.reconciler.EventSourceContext;
import io.javaoperatorsdk.operator.api.reconciler.IndexedResourceCache;
import io.javaoperatorsdk.operator.api.reconciler.Reconciler;
import io.javaoperatorsdk.operator.api.reconciler.UpdateControl;
import io.javaoperatorsdk.operator.processing.event.ResourceID;
import io.javaoperatorsdk.operator.processing.event.source.EventSource;
import io.javaoperatorsdk.operator.processing.event.source.informer.InformerEventSource;
import java.net.HttpURLConnection;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Observe, decide, report, act. The status is written before anything is done about it. */
@ControllerConfiguration(name = "pretrainjob", fieldManager = GangWriter.FIELD_MANAGER)
public final class PretrainJobReconciler implements Reconciler<PretrainJob> {
  /** Index of the jobs by namespace and output folder. */
  private static final String OUTPUT = "output";

  /** Objects of one page of a list: all pages at once would need much memory at the start. */
  private static final long LIST_PAGE = 500;

  private final OperatorOptions options;
  private final Nodes nodes;
  private final OperatorMetrics metrics;
  private final SchedulerDiscovery schedulers;
  private final StartTrouble startTrouble = new StartTrouble();

  /**
   * A reconciler.
   *
   * @param nodes the nodes of the cluster
   * @param metrics where it counts
   */
  public PretrainJobReconciler(OperatorOptions options, Nodes nodes, OperatorMetrics metrics) {
    this.options = options;
    this.nodes = nodes;
    this.metrics = metrics;
    this.schedulers = new SchedulerDiscovery(options.clock());
  }

  @Override
  public List<EventSource<?, PretrainJob>> prepareEventSources(
      EventSourceContext<PretrainJob> context) {
    context
        .getPrimaryCache()
        .addIndexer(
            OUTPUT, job -> List.of(job.getMetadata().getNamespace() + " " + OutputPath.of(job)));
    List<EventSource<?, PretrainJob>> sources =
        new ArrayList<>(
            List.of(
                owned(Pod.class, context),
                owned(ConfigMap.class, context),
                owned(Service.class, context)));
    if (options.gangReaders().isPresent()) {
      sources.add(owned(NetworkPolicy.class, context));
    }
    return sources;
  }

  @Override
  public UpdateControl<PretrainJob> reconcile(PretrainJob job, Context<PretrainJob> context) {
    if (job.getMetadata().getDeletionTimestamp() != null) {
      return UpdateControl.noUpdate(); // owner references see to the rest
    }
    String managedBy = job.getSpec().managedBy();
    if (managedBy != null && !managedBy.equals(PretrainJobSpec.OPERATOR)) {
      return UpdateControl.noUpdate(); // another controller's, its status too
    }
    Instant now = options.clock().instant();
    ObservedGang observed =
        startTrouble.read(
            context.getClient(),
            job.getMetadata().getNamespace(),
            queued(job, observe(job, context), context),
            Optional.ofNullable(job.getStatus()).map(PretrainJobStatus::attempt),
            now);
    Step step =
        Step.take(
            job,
            observed,
            ask(observed),
            neighbours(job, context),
            new Step.Settings(
                options.trainerImage(),
                Pace.between(options.pollInterval(), Pace.busy(context.getPrimaryCache().list())),
                schedulers.ask(context.getClient()),
                options.gangReaders(),
                nodes),
            now);
    GangWriter writer =
        new GangWriter(
            context.getClient(),
            job.getMetadata().getNamespace(),
            context.resourceOperations()::create,
            context.resourceOperations()::serverSideApply);
    try {
      step.remember().ifPresent(record -> writer.write(List.of(record)));
    } catch (KubernetesClientException e) {
      // A conflict is no news: the Service has changed, and the next look sees it.
      if (e.getCode() != HttpURLConnection.HTTP_CONFLICT) {
        tell(e, job, step.known(), Optional.ofNullable(job.getStatus()), context, now);
      }
      throw e; // nothing is done that is not on record
    }
    PretrainJobStatus announced = step.announced();
    if (!announced.equals(job.getStatus())) {
      report(job, step.known(), announced, context, now);
    }
    try {
      writer.write(step.actions());
    } catch (KubernetesClientException e) {
      tell(e, job, announced, Optional.of(announced), context, now);
      throw e; // to be tried again, later and later
    }
    if (!step.status().equals(announced)) {
      report(job, announced, step.status(), context, now);
    }
    UpdateControl<PretrainJob> done = UpdateControl.noUpdate();
    if (step.expired()) {
      delete(job, context);
      return done;
    }
    step.lookAgain().ifPresent(done::rescheduleAfter);
    return done;
  }

  /**
   * Says what was refused.
   *
   * @param known what holds of the job all the same
   * @param written its status as it stands there
   */
  private void tell(
      KubernetesClientException refusal,
      PretrainJob job,
      PretrainJobStatus known,
      Optional<PretrainJobStatus> written,
      Context<PretrainJob> context,
      Instant now) {
    PretrainJobStatus refused = StatusReport.refused(job, known, refusal.getMessage(), now);
    if (written.filter(refused::equals).isEmpty()) {
      report(job, known, refused, context, now);
    }
  }

  /** Writes a status, and an Event for what is news, and counts. */
  private void report(
      PretrainJob job,
      PretrainJobStatus before,
      PretrainJobStatus after,
      Context<PretrainJob> context,
      Instant now) {
    PretrainJob written =
        context.resourceOperations().serverSideApplyPrimaryStatus(statusOnly(job, after));
    job.getMetadata().setResourceVersion(written.getMetadata().getResourceVersion());
    new EventWriter(context.getClient()).write(job, Transition.between(before, after), now);
    Milestones reached = Milestones.between(before, after, now);
    reached.broke().ifPresent(f -> metrics.broke(PretrainJob.KIND, f, reached.lostSteps()));
    reached.startTook().ifPresent(took -> metrics.started(PretrainJob.KIND, took));
  }

  /** Exactly this job, not one that somebody has created under its name since. */
  private static void delete(PretrainJob job, Context<PretrainJob> context) {
    ObjectMeta metadata = job.getMetadata();
    ExactDeletion.delete(
        context.getClient(),
        "/apis/%s/namespaces/%s/pretrainjobs/%s"
            .formatted(job.getApiVersion(), metadata.getNamespace(), metadata.getName()),
        metadata.getUid(),
        options -> options.withPropagationPolicy("Background"));
  }

  private static Neighbours neighbours(PretrainJob job, Context<PretrainJob> context) {
    IndexedResourceCache<PretrainJob> all = context.getPrimaryCache();
    String namespace = job.getMetadata().getNamespace();
    return new Neighbours() {
      @Override
      public Optional<PretrainJob> named(String name) {
        return all.get(new ResourceID(name, namespace));
      }

      @Override
      public List<PretrainJob> writingTo(String output) {
        return all.byIndex(OUTPUT, namespace + " " + output);
      }
    };
  }

  private ObservedGang observe(PretrainJob job, Context<PretrainJob> context) {
    ObservedGang heard = heard(job, context);
    // Asked for anew, where what was heard of it may be old.
    return JobRecord.isBehind(job.getStatus(), heard)
        ? heard.withService(service(job, context))
        : heard;
  }

  /** By a list, for which the operator has the rights anyway. */
  private static Optional<Service> service(PretrainJob job, Context<PretrainJob> context) {
    String name = PretrainPlan.service(job).getMetadata().getName();
    return context
        .getClient()
        .services()
        .inNamespace(job.getMetadata().getNamespace())
        .withField("metadata.name", name)
        .list()
        .getItems()
        .stream()
        .filter(service -> isOf(job, service))
        .findFirst();
  }

  private ObservedGang heard(PretrainJob job, Context<PretrainJob> context) {
    List<String> leftovers = new ArrayList<>();
    List<Service> services = own(Service.class, job, context, leftovers);
    List<NetworkPolicy> policies =
        options.gangReaders().isEmpty()
            ? List.of()
            : own(NetworkPolicy.class, job, context, leftovers);
    return new ObservedGang(
        services.stream().findFirst(),
        policies.stream().findFirst(),
        own(ConfigMap.class, job, context, leftovers),
        own(Pod.class, job, context, leftovers).stream()
            .map(pod -> PodState.of(pod, nodes::named))
            .toList(),
        leftovers);
  }

  /**
   * Objects of this very job. They are watched by the names of their owners; those of an earlier
   * job of this name stay for a moment after it was deleted.
   */
  private static <R extends HasMetadata> List<R> own(
      Class<R> type, PretrainJob job, Context<PretrainJob> context, List<String> leftovers) {
    List<R> own = new ArrayList<>();
    for (R object : context.getSecondaryResources(type)) {
      if (isOf(job, object)) {
        own.add(object);
      } else {
        leftovers.add(object.getKind() + " " + object.getMetadata().getName());
      }
    }
    return own;
  }

  private static boolean isOf(PretrainJob job, HasMetadata object) {
    return object.getMetadata().getOwnerReferences().stream()
        .anyMatch(owner -> job.getMetadata().getUid().equals(owner.getUid()));
  }

  /** The same gang, with what its queue says of pods that it has not let in. */
  private static ObservedGang queued(
      PretrainJob job, ObservedGang observed, Context<PretrainJob> context) {
    if (observed.pods().stream().noneMatch(pod -> pod.binding().gated())) {
      return observed;
    }
    return Optional.ofNullable(job.getStatus())
        .map(PretrainJobStatus::layout)
        .map(PretrainJobStatus.Layout::scheduling)
        .flatMap(
            by -> QueuePosition.read(context.getClient(), job.getMetadata().getNamespace(), by))
        .map(observed::held)
        .orElse(observed);
  }

  private Optional<RunStatus> ask(ObservedGang observed) {
    return observed.pods().stream()
        .filter(pod -> pod.index() == 0 && pod.phase() == PodState.Phase.Running)
        .filter(pod -> pod.ip() != null && !pod.deleting())
        .findFirst()
        .flatMap(pod -> options.statusProbe().ask(pod.ip(), RunConfig.Network.DEFAULT.httpPort()));
  }

  /**
   * What server-side apply may own: nothing but the status. It carries the version that was looked
   * at: another job may have this name by now, and the API server compares no uid here.
   */
  private static PretrainJob statusOnly(PretrainJob job, PretrainJobStatus status) {
    PretrainJob fresh = new PretrainJob();
    fresh.setMetadata(
        new ObjectMetaBuilder()
            .withName(job.getMetadata().getName())
            .withNamespace(job.getMetadata().getNamespace())
            .withResourceVersion(job.getMetadata().getResourceVersion())
            .build());
    fresh.setStatus(status);
    return fresh;
  }

  private <R extends HasMetadata> EventSource<R, PretrainJob> owned(
      Class<R> type, EventSourceContext<PretrainJob> context) {
    return new InformerEventSource<>(
        InformerEventSourceConfiguration.from(type, PretrainJob.class)
            .withLabelSelector(GangLabels.KIND + "=" + PretrainJob.KIND)
            .withNamespacesInheritedFromController()
            .withInformerListLimit(LIST_PAGE)
            .build(),
        context);
  }
}
