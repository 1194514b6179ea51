package dev.perigee.operator.pretrain;

import dev.perigee.api.DataSource;
import dev.perigee.api.FailurePolicy;
import dev.perigee.api.PodOverrides;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobSpec;
import dev.perigee.api.ResourcesSpec;
import dev.perigee.api.VolumeSource;
import dev.perigee.operator.gang.GangLabels;
import dev.perigee.operator.gang.PodState;
import dev.perigee.run.ExitCode;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import io.fabric8.kubernetes.api.model.Container;
import io.fabric8.kubernetes.api.model.ContainerBuilder;
import io.fabric8.kubernetes.api.model.ContainerRestartRule;
import io.fabric8.kubernetes.api.model.ContainerRestartRuleBuilder;
import io.fabric8.kubernetes.api.model.EnvVar;
import io.fabric8.kubernetes.api.model.LocalObjectReference;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.PodResourceClaim;
import io.fabric8.kubernetes.api.model.Probe;
import io.fabric8.kubernetes.api.model.ProbeBuilder;
import io.fabric8.kubernetes.api.model.ResourceClaim;
import io.fabric8.kubernetes.api.model.ResourceRequirements;
import io.fabric8.kubernetes.api.model.ResourceRequirementsBuilder;
import io.fabric8.kubernetes.api.model.Volume;
import io.fabric8.kubernetes.api.model.VolumeBuilder;
import io.fabric8.kubernetes.api.model.VolumeMount;
import io.fabric8.kubernetes.api.model.VolumeMountBuilder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/** The pods of a training gang; they satisfy the restricted Pod Security Standard. */
final class TrainerPods {
  private static final PodOverrides.Identity NOBODY =
      new PodOverrides.Identity(65532L, 65532L, 65532L);

  /** Ends for which a program is not to blame: it can be part of the next start. */
  private static final ContainerRestartRule AGAIN =
      new ContainerRestartRuleBuilder()
          .withAction("Restart")
          .withNewExitCodes()
          .withOperator("In")
          .withValues(ExitCode.LOST_PEER.code(), ExitCode.STOPPED.code())
          .endExitCodes()
          .build();

  private TrainerPods() {}

  private static boolean isInPlace(PretrainJobSpec spec) {
    return spec.failurePolicy().restart() == FailurePolicy.RestartMode.InPlace;
  }

  /**
   * What a pod is in its gang.
   *
   * @param name its name
   * @param index its place, null for a spare
   */
  private record Seat(String name, Integer index) {
    /** How the program learns of it. */
    EnvVar variable() {
      return index == null
          ? new EnvVar(RunFiles.SPARE_VARIABLE, name, null)
          : new EnvVar(RunFiles.POD_INDEX_VARIABLE, Integer.toString(index), null);
    }
  }

  /** The pod of one index. */
  static Pod pod(PretrainJob job, RunConfig run, RankMap ranks, int index, String defaultImage) {
    String name = JobNames.pod(job.getMetadata().getName(), index, ranks.pods().size());
    return pod(job, run, ranks, new Seat(name, index), defaultImage);
  }

  /**
   * A pod that waits for a place.
   *
   * @param ranks of the start whose configuration it reads meanwhile
   */
  static Pod spare(
      PretrainJob job, RunConfig run, RankMap ranks, String name, String defaultImage) {
    return pod(job, run, ranks, new Seat(name, null), defaultImage);
  }

  private static Pod pod(
      PretrainJob job, RunConfig run, RankMap ranks, Seat seat, String defaultImage) {
    PretrainJobSpec spec = job.getSpec();
    PodOverrides overrides = spec.podOverrides();
    PodOverrides.Identity identity = Objects.requireNonNullElse(overrides.identity(), NOBODY);
    Mounts mounts = mounts(job, ranks);
    long grace = Grace.seconds(job);
    return new PodBuilder()
        .withMetadata(metadata(job, seat, ranks))
        .withNewSpec()
        .withContainers(container(spec, run, mounts.mounts(), seat, grace, defaultImage))
        .withVolumes(mounts.volumes())
        // A gang restarts as a whole or not at all; a container that was started again in its place
        // waits for the next start.
        .withRestartPolicy("Never")
        .withHostname(seat.name())
        .withSubdomain(JobNames.service(job.getMetadata().getName()))
        .withEnableServiceLinks(false)
        .withAutomountServiceAccountToken(false)
        .withTerminationGracePeriodSeconds(grace)
        .withNodeSelector(overrides.nodeSelector())
        .withAffinity(OtherNodes.preferred(job, ranks.generation()))
        .withTolerations(Objects.requireNonNullElse(overrides.tolerations(), List.of()))
        .withServiceAccountName(overrides.serviceAccountName())
        .withPriorityClassName(overrides.priorityClassName())
        .withRuntimeClassName(overrides.runtimeClassName())
        .withSchedulerName(overrides.schedulerName())
        .withImagePullSecrets(
            Objects.requireNonNullElse(
                    overrides.imagePullSecrets(), List.<PodOverrides.SecretName>of())
                .stream()
                .map(secret -> new LocalObjectReference(secret.name()))
                .toList())
        .withResourceClaims(
            claims(overrides).stream()
                .map(
                    claim ->
                        new PodResourceClaim(
                            claim.name(),
                            claim.resourceClaimName(),
                            claim.resourceClaimTemplateName()))
                .toList())
        .withNewSecurityContext()
        .withRunAsNonRoot(true)
        .withRunAsUser(identity.user())
        .withRunAsGroup(identity.group())
        .withFsGroup(identity.volumeGroup())
        .withFsGroupChangePolicy("OnRootMismatch")
        .withNewSeccompProfile()
        .withType("RuntimeDefault")
        .endSeccompProfile()
        .endSecurityContext()
        .endSpec()
        .build();
  }

  private static ObjectMeta metadata(PretrainJob job, Seat seat, RankMap ranks) {
    PodOverrides overrides = job.getSpec().podOverrides();
    ObjectMeta metadata = PretrainPlan.metadata(job, seat.name());
    Map<String, String> labels = new HashMap<>();
    labels.putAll(Objects.requireNonNullElse(overrides.labels(), Map.of()));
    labels.putAll(metadata.getLabels());
    if (seat.index() == null) {
      labels.put(GangLabels.GENERATION, "0");
    } else {
      labels.put(GangLabels.POD_INDEX, Integer.toString(seat.index()));
      labels.put(GangLabels.GENERATION, Integer.toString(ranks.generation()));
    }
    labels.put(GangLabels.SIZE, Integer.toString(ranks.pods().size()));
    metadata.setLabels(labels);
    metadata.setAnnotations(overrides.annotations());
    return metadata;
  }

  private static Container container(
      PretrainJobSpec spec,
      RunConfig run,
      List<VolumeMount> mounts,
      Seat seat,
      long grace,
      String defaultImage) {
    boolean inPlace = isInPlace(spec);
    return new ContainerBuilder()
        .withName(PodState.CONTAINER)
        .withRestartPolicy(inPlace ? "Never" : null)
        .withRestartPolicyRules(inPlace ? List.of(AGAIN) : List.of())
        .withImage(Objects.requireNonNullElse(spec.image(), defaultImage))
        .withImagePullPolicy(spec.imagePullPolicy().name())
        .withEnv(Objects.requireNonNullElse(spec.podOverrides().env(), List.of()))
        .addToEnv(seat.variable())
        .addNewEnv()
        .withName(RunFiles.GRACE_VARIABLE)
        .withValue(Long.toString(grace))
        .endEnv()
        .addNewEnv()
        .withName(RunFiles.POD_IP_VARIABLE)
        .withNewValueFrom()
        .withNewFieldRef()
        .withFieldPath("status.podIP")
        .endFieldRef()
        .endValueFrom()
        .endEnv()
        .addNewPort()
        .withName("http")
        .withContainerPort(run.network().httpPort())
        .endPort()
        .addNewPort()
        .withName("peers")
        .withContainerPort(run.network().peerPort())
        .endPort()
        .withResources(resources(spec))
        .withVolumeMounts(mounts)
        .withReadinessProbe(probe("/readyz", 2, 3))
        // Only a program that has not answered for two minutes is taken for dead.
        .withLivenessProbe(probe("/healthz", 20, 6))
        .withTerminationMessagePath(path(RunFiles.TERMINATION_LOG))
        .withTerminationMessagePolicy("FallbackToLogsOnError")
        .withNewSecurityContext()
        .withAllowPrivilegeEscalation(false)
        .withReadOnlyRootFilesystem(true)
        .withNewCapabilities()
        .withDrop("ALL")
        .endCapabilities()
        .endSecurityContext()
        .build();
  }

  private static Probe probe(String path, int periodSeconds, int failures) {
    return new ProbeBuilder()
        .withNewHttpGet()
        .withPath(path)
        .withNewPort("http")
        .endHttpGet()
        .withPeriodSeconds(periodSeconds)
        .withTimeoutSeconds(Math.min(periodSeconds, 5))
        .withFailureThreshold(failures)
        .build();
  }

  private static ResourceRequirements resources(PretrainJobSpec spec) {
    List<ResourceClaim> claims =
        claims(spec.podOverrides()).stream()
            .map(claim -> new ResourceClaim(claim.name(), null))
            .toList();
    ResourcesSpec resources = spec.resources();
    if (resources == null && claims.isEmpty()) {
      return null;
    }
    return new ResourceRequirementsBuilder()
        .withRequests(resources == null ? null : resources.requests())
        .withLimits(resources == null ? null : resources.limits())
        .withClaims(claims)
        .build();
  }

  private static List<PodOverrides.DeviceClaim> claims(PodOverrides overrides) {
    return Objects.requireNonNullElse(overrides.resourceClaims(), List.of());
  }

  private record Mounts(List<Volume> volumes, List<VolumeMount> mounts) {
    void add(Volume volume, String containerPath, boolean readOnly) {
      volumes.add(volume);
      mounts.add(
          new VolumeMountBuilder()
              .withName(volume.getName())
              .withMountPath(containerPath)
              .withReadOnly(readOnly ? true : null)
              .build());
    }
  }

  private static Mounts mounts(PretrainJob job, RankMap ranks) {
    PretrainJobSpec spec = job.getSpec();
    Mounts all = new Mounts(new ArrayList<>(), new ArrayList<>());
    all.add(
        new VolumeBuilder()
            .withName("run")
            .withNewConfigMap()
            .withName(PretrainPlan.configMapName(job, ranks.generation()))
            .endConfigMap()
            .build(),
        path(RunFiles.RUN_FOLDER),
        true);
    if (ranks.pods().size() > 1 || spec.failurePolicy().spares() > 0) {
      all.add(
          new VolumeBuilder()
              .withName("peers")
              .withNewConfigMap()
              .withName(PretrainPlan.peersName(job))
              // It cannot be there yet: a pod has its address only after its volumes.
              .withOptional(true)
              .endConfigMap()
              .build(),
          path(RunFiles.PEERS_FOLDER),
          true);
    }
    if (isInPlace(spec)) {
      all.add(
          new VolumeBuilder().withName("state").withNewEmptyDir().endEmptyDir().build(),
          path(RunFiles.STATE_FOLDER),
          false);
    }
    all.add(
        volume("checkpoints", spec.checkpoints().volume(), "DirectoryOrCreate"),
        path(RunFiles.CHECKPOINTS_FOLDER),
        false);
    for (DataSource source : spec.data()) {
      if (source.volume() != null) {
        all.add(
            volume("data-" + source.name(), source.volume(), null),
            path(RunFiles.DATA_FOLDER) + "/" + source.name(),
            true);
      }
    }
    if (spec.tokenizer().volume() != null) {
      all.add(
          volume("tokenizer", spec.tokenizer().volume(), null),
          path(RunFiles.TOKENIZER_FOLDER),
          true);
    }
    RunConfigs.firstWeights(job)
        .ifPresent(
            weights ->
                all.add(
                    volume("model", weights.volume(), null), path(RunFiles.MODEL_FOLDER), true));
    // The root is read-only; libraries unpack their native parts here.
    all.add(
        new VolumeBuilder().withName("tmp").withNewEmptyDir().endEmptyDir().build(), "/tmp", false);
    return all;
  }

  private static Volume volume(String name, VolumeSource source, String hostPathType) {
    VolumeBuilder volume = new VolumeBuilder().withName(name);
    return source.persistentVolumeClaim() != null
        ? volume
            .withNewPersistentVolumeClaim()
            .withClaimName(source.persistentVolumeClaim().claimName())
            .endPersistentVolumeClaim()
            .build()
        : volume
            .withNewHostPath()
            .withPath(source.hostPath().path())
            .withType(hostPathType)
            .endHostPath()
            .build();
  }

  private static String path(String folder) {
    return RunFiles.CONTAINER_ROOT + "/" + folder;
  }
}
