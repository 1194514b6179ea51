package dev.perigee.operator.pretrain;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobSpec;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.GangLabels;
import dev.perigee.operator.gang.GangNetworkPolicy;
import dev.perigee.operator.gang.GangPlan;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.PodState;
import dev.perigee.operator.gang.Roster;
import dev.perigee.operator.placement.ExpertGroups;
import dev.perigee.operator.placement.Placement;
import dev.perigee.operator.placement.Placements;
import dev.perigee.operator.placement.PodGang;
import dev.perigee.operator.placement.ServedSchedulers;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.ConfigMapBuilder;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import io.fabric8.kubernetes.api.model.ObjectMetaBuilder;
import io.fabric8.kubernetes.api.model.OwnerReferenceBuilder;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.ServiceBuilder;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicy;
import io.fabric8.kubernetes.api.model.networking.v1.NetworkPolicyPeer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;

/** What a job comes to: a pure function of the job. */
public sealed interface PretrainPlan {
  /** The start of the gang that the plan is for, from 1. */
  int generation();

  /**
   * A plan that can work.
   *
   * @param run what the programs are asked to do
   * @param ranks who is where
   * @param gang the objects of the cluster
   * @param placement who lets the gang in as a whole
   * @param layout the same in short, for the status
   */
  record Workable(
      RunConfig run,
      RankMap ranks,
      GangPlan gang,
      Placement placement,
      PretrainJobStatus.Layout layout)
      implements PretrainPlan {
    @Override
    public int generation() {
      return gang.generation();
    }
  }

  /**
   * A plan that cannot work. It never makes a pod.
   *
   * @param problems one line each, naming the field, and what would work
   */
  record Impossible(int generation, List<String> problems) implements PretrainPlan {
    public Impossible {
      problems = List.copyOf(problems);
    }
  }

  /** Plans one start in a cluster where nobody lets gangs in as a whole. */
  static PretrainPlan of(PretrainJob job, int generation, String defaultImage) {
    return of(job, generation, defaultImage, Optional.empty(), ServedSchedulers.NONE);
  }

  /**
   * Plans one start of a job's gang.
   *
   * @param job the job
   * @param generation which start it is, from 1
   * @param defaultImage image for a job that names none
   * @param recorded how a start that is under way is placed, empty for one that has no pods yet
   * @param served the schedulers that the API server knows
   */
  static PretrainPlan of(
      PretrainJob job,
      int generation,
      String defaultImage,
      Optional<PretrainJobStatus.Scheduling> recorded,
      ServedSchedulers served) {
    List<String> problems = new ArrayList<>();
    String name = job.getMetadata().getName();
    if (!name.matches("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")) {
      problems.add(
          "metadata.name: "
              + name
              + " is not a DNS label that begins with a letter, of at most 63 characters");
    }
    PretrainJobSpec spec = job.getSpec();
    Placements.Choice choice =
        Placements.choose(spec.scheduling(), spec.podOverrides().schedulerName(), recorded, served);
    if (choice instanceof Placements.Choice.Unavailable(var problem)) {
      problems.add(problem);
    }
    JobPlan asked = JobPlan.of(job, null);
    RunConfig run = asked.run();
    problems.addAll(asked.problems());
    if (!problems.isEmpty() || !(choice instanceof Placements.Choice.Chosen(var placement))) {
      return new Impossible(generation, problems);
    }
    RankMap ranks = ranks(job, run.mesh(), generation);
    ConfigMap configMap = configMap(job, run, ranks);
    Service service = service(job);
    PodGang gang = podGang(job, run.mesh(), generation);
    List<Pod> pods =
        ranks.pods().stream()
            .map(
                pod ->
                    placement.place(
                        ExpertGroups.label(
                            TrainerPods.pod(job, run, ranks, pod.index(), defaultImage),
                            pod.index(),
                            gang),
                        gang))
            .toList();
    return new Workable(
        run,
        ranks,
        new GangPlan(generation, service, configMap, placement.group(gang), pods),
        placement,
        layout(job, run, configMap.getData().get(RunFiles.RANK_MAP), placement, gang));
  }

  private static RankMap ranks(PretrainJob job, Mesh mesh, int generation) {
    String name = job.getMetadata().getName();
    return new RankMap(
        generation,
        IntStream.range(0, mesh.pods())
            .mapToObj(
                index ->
                    new RankMap.Pod(
                        index,
                        JobNames.pod(name, index, mesh.pods()) + domain(job),
                        null,
                        IntStream.range(0, mesh.ranksPerPod())
                            .mapToObj(i -> index * mesh.ranksPerPod() + i)
                            .toList()))
            .toList());
  }

  /** What a pod's name goes on with, for its peers. */
  private static String domain(PretrainJob job) {
    ObjectMeta metadata = job.getMetadata();
    return "." + JobNames.service(metadata.getName()) + "." + metadata.getNamespace() + ".svc";
  }

  private static PodGang podGang(PretrainJob job, Mesh mesh, int generation) {
    return new PodGang(
        metadata(job, JobNames.group(job.getMetadata().getName(), generation)),
        mesh.pods(),
        PodGang.expertGroupPods(mesh.expert(), mesh.ranksPerPod()),
        job.getSpec().scheduling(),
        job.getSpec().podOverrides().priorityClassName());
  }

  private static PretrainJobStatus.Layout layout(
      PretrainJob job, RunConfig run, String rankMap, Placement placement, PodGang gang) {
    ModelConfig model = run.model().config();
    Mesh mesh = run.mesh();
    return new PretrainJobStatus.Layout(
        mesh.pods(),
        mesh.world(),
        mesh.replicas(),
        model == null ? null : model.totalParameters(),
        model == null ? null : model.activeParameters(),
        JobNames.sha256(rankMap),
        new PretrainJobStatus.Scheduling(
            placement.adapter(),
            placement.apiVersion().orElse(null),
            placement.apiVersion().isPresent() ? gang.name() : null,
            placement.apiVersion().isPresent() ? gang.scheduling().queue() : null),
        JobEstimate.of(job, run));
  }

  /** The headless Service that gives the pods of all starts their names. */
  static Service service(PretrainJob job) {
    String name = job.getMetadata().getName();
    return new ServiceBuilder()
        .withMetadata(metadata(job, JobNames.service(name)))
        .withNewSpec()
        .withClusterIP("None")
        // Peers look each other up before they are ready: being ready needs having met.
        .withPublishNotReadyAddresses(true)
        .withSelector(Map.of(GangLabels.KIND, PretrainJob.KIND, GangLabels.JOB, name))
        .addNewPort()
        .withName("http")
        .withPort(RunConfig.Network.DEFAULT.httpPort())
        .endPort()
        .addNewPort()
        .withName("peers")
        .withPort(RunConfig.Network.DEFAULT.peerPort())
        .endPort()
        .endSpec()
        .build();
  }

  private static ConfigMap configMap(PretrainJob job, RunConfig run, RankMap ranks) {
    // One for each start, and immutable: no node can hand a pod the one of the start before.
    return new ConfigMapBuilder()
        .withMetadata(ofStart(job, configMapName(job, ranks.generation()), ranks.generation()))
        .withImmutable(true)
        .addToData(RunFiles.RUN_CONFIG, json(run))
        .addToData(RunFiles.RANK_MAP, json(ranks))
        .build();
  }

  /**
   * The rank map with the address of every pod, once all have one. Published beside the first,
   * which pods mount before they have an address. It has one name for all starts, so that a pod
   * that stays over a restart hears from it of the next.
   *
   * @param roster who has which place
   */
  static Optional<ConfigMap> peers(PretrainJob job, RankMap ranks, Roster roster) {
    Map<Integer, PodState> places = roster.places();
    boolean alone = ranks.pods().size() == 1 && job.getSpec().failurePolicy().spares() == 0;
    if (alone
        || places.size() < ranks.pods().size()
        || places.values().stream().anyMatch(pod -> pod.ip() == null)) {
      return Optional.empty();
    }
    RankMap known =
        new RankMap(
            ranks.generation(),
            ranks.pods().stream()
                .map(
                    p ->
                        new RankMap.Pod(
                            p.index(),
                            places.get(p.index()).name() + domain(job),
                            places.get(p.index()).ip(),
                            p.ranks()))
                .toList());
    return Optional.of(
        new ConfigMapBuilder()
            .withMetadata(metadata(job, peersName(job)))
            .addToData(RunFiles.RANK_MAP, json(known))
            .build());
  }

  /** Who may reach the job's pods: each other and, at the HTTP port, the given readers. */
  static NetworkPolicy policy(PretrainJob job, List<NetworkPolicyPeer> readers) {
    String name = job.getMetadata().getName();
    return GangNetworkPolicy.of(
        metadata(job, JobNames.service(name)),
        Map.of(GangLabels.KIND, PretrainJob.KIND, GangLabels.JOB, name),
        readers);
  }

  /** The rank map with addresses that the pods of a job see now. */
  static Optional<RankMap> published(PretrainJob job, ObservedGang observed) {
    return observed
        .configMap(peersName(job))
        .map(c -> c.getData().get(RunFiles.RANK_MAP))
        .flatMap(
            json -> {
              try {
                return Optional.of(new ObjectMapper().readValue(json, RankMap.class));
              } catch (JsonProcessingException e) {
                return Optional.empty(); // changed by hand; it will be written anew
              }
            });
  }

  /** Name of the ConfigMap with the pods' addresses. */
  static String peersName(PretrainJob job) {
    return JobNames.service(job.getMetadata().getName()) + "-peers";
  }

  /** Metadata of an object that belongs to one start. */
  private static ObjectMeta ofStart(PretrainJob job, String name, int generation) {
    ObjectMeta metadata = metadata(job, name);
    Map<String, String> labels = new HashMap<>(metadata.getLabels());
    labels.put(GangLabels.GENERATION, Integer.toString(generation));
    metadata.setLabels(labels);
    return metadata;
  }

  /** Name of the ConfigMap of one start. */
  static String configMapName(PretrainJob job, int generation) {
    return job.getMetadata().getName() + "-attempt-" + generation;
  }

  /** Metadata of an object that goes when the job goes. */
  static ObjectMeta metadata(PretrainJob job, String name) {
    return new ObjectMetaBuilder()
        .withName(name)
        .withNamespace(job.getMetadata().getNamespace())
        .withLabels(GangLabels.of(PretrainJob.KIND, job.getMetadata().getName()))
        .withOwnerReferences(
            new OwnerReferenceBuilder()
                .withApiVersion(PretrainJob.GROUP + "/" + PretrainJob.VERSION)
                .withKind(PretrainJob.KIND)
                .withName(job.getMetadata().getName())
                .withUid(job.getMetadata().getUid())
                .withController(true)
                .withBlockOwnerDeletion(true)
                .build())
        .build();
  }

  private static String json(Object value) {
    try {
      return new ObjectMapper()
          .enable(SerializationFeature.INDENT_OUTPUT)
          .writeValueAsString(value);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("a record that cannot be written as JSON", e);
    }
  }
}
