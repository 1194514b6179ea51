package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.run.RunStatus;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.Watch;
import io.fabric8.kubernetes.client.Watcher;
import io.fabric8.kubernetes.client.WatcherException;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;

/**
 * A job of two pods whose gang breaks once and then trains to its end; the story plays the kubelet.
 * Whatever is done to the operator meanwhile, nothing may be lost and nothing doubled: no two pods
 * of one index and start, no two starts at once, one restart counted, and the job Complete.
 */
final class Story implements AutoCloseable {
  static final String JOB = "story";
  private static final Duration PATIENCE = Duration.ofSeconds(60);

  private final RealApi api;
  private final String namespace;
  private final PodPlay play;
  private final Watch births;

  /** Uids of all pods that ever were, by start and name. */
  private final Map<String, Set<String>> born = new ConcurrentHashMap<>();

  private volatile boolean broken;

  /** What rank 0 says, for the operator's probe. */
  volatile RunStatus said;

  Story(RealApi api, String namespace) {
    this(api, namespace, 0);
  }

  Story(RealApi api, String namespace, int backoffSeconds) {
    this.api = api;
    this.namespace = namespace;
    KubernetesClient client = api.client();
    play = new PodPlay(client);
    births =
        client
            .pods()
            .inNamespace(namespace)
            .watch(
                new Watcher<Pod>() {
                  @Override
                  public void eventReceived(Action action, Pod pod) {
                    if (action == Action.ADDED) {
                      born.computeIfAbsent(
                              generation(pod) + "/" + pod.getMetadata().getName(),
                              k -> ConcurrentHashMap.newKeySet())
                          .add(pod.getMetadata().getUid());
                    }
                  }

                  @Override
                  public void onClose(WatcherException e) {}
                });
    api.createJob(namespace, JOB, backoffSeconds);
  }

  Optional<RunStatus> ask(String host, int port) {
    return Optional.ofNullable(said);
  }

  PretrainJob job() {
    return api.job(namespace, JOB);
  }

  /**
   * Plays until the job is over, then looks back.
   *
   * @param between what else happens between two looks of the kubelet
   */
  void play(Runnable between) throws InterruptedException {
    Instant deadline = Instant.now().plus(PATIENCE);
    while (!over()) {
      if (Instant.now().isAfter(deadline)) {
        throw new AssertionError("not over in time: " + job() + " pods " + pods());
      }
      move();
      between.run();
      Thread.sleep(50);
    }
    assertThat(job().getStatus().holds(ConditionType.Complete))
        .as("%s", job().getStatus().conditions())
        .isTrue();
    assertThat(job().getStatus().restarts()).isEqualTo(1);
    assertThat(job().getStatus().disruptions()).isZero();
    assertThat(job().getStatus().attempt().number()).isEqualTo(2);
    assertThat(born)
        .containsOnlyKeys("1/story-0", "1/story-1", "2/story-0", "2/story-1")
        .allSatisfy((name, uids) -> assertThat(uids).as(name).hasSize(1));
  }

  private boolean over() {
    var status = job().getStatus();
    return status != null
        && (status.holds(ConditionType.Complete) || status.holds(ConditionType.Failed));
  }

  private List<Pod> pods() {
    return play.pods(namespace, JOB).stream()
        .sorted(Comparator.comparing(pod -> pod.getMetadata().getName()))
        .toList();
  }

  private void move() {
    List<Pod> pods = pods();
    Set<String> generations = pods.stream().map(Story::generation).collect(Collectors.toSet());
    assertThat(generations).as("starts at once").hasSizeLessThanOrEqualTo(1);
    for (Pod pod : pods) {
      if (phase(pod).equals("Pending")) {
        play.run(pod);
      }
    }
    var status = job().getStatus();
    boolean formed =
        pods.size() == 2
            && pods.stream().allMatch(p -> phase(p).equals("Running"))
            && status != null
            && status.attempt() != null
            && Boolean.TRUE.equals(status.attempt().formed());
    if (!formed) {
      return;
    }
    said = training();
    if (generations.contains("1") && !broken) {
      broken = true;
      said = null;
      play.end(pods.get(1), 137);
    } else if (generations.contains("2")) {
      pods.forEach(pod -> play.end(pod, 0));
    }
  }

  static RunStatus training() {
    return new RunStatus(
        RunStatus.Phase.Training,
        null,
        7L,
        null,
        100,
        7,
        2.0,
        1.0,
        1e-3,
        100.0,
        5.0,
        0,
        1.0,
        null,
        null,
        null);
  }

  private static String generation(Pod pod) {
    return pod.getMetadata().getLabels().get("perigee.dev/generation");
  }

  private static String phase(Pod pod) {
    return pod.getStatus().getPhase();
  }

  @Override
  public void close() {
    births.close();
  }
}
