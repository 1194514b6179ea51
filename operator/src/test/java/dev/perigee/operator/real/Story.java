package dev.perigee.operator.real;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.api.ConditionType;
import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.run.RunStatus;
import io.fabric8.kubernetes.api.model.Pod;
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
 * A job of two pods whose gang breaks once and then trains to its end; the story plays scheduler
 * and kubelet. Whatever is done to the operator meanwhile, nothing may be lost and nothing doubled:
 * no two pods of one index and start, no two starts at once, one restart on record, and the job
 * Complete.
 */
final class Story implements AutoCloseable {
  static final String JOB = "story";

  /** A few failures in a row make an operator wait for half a minute before it tries again. */
  private static final Duration PATIENCE = Duration.ofMinutes(2);

  /** How the first start breaks. */
  enum Mishap {
    /** The program of the second pod is killed; this alone counts as a restart. */
    PROGRAM_DIES,
    /** The second pod is deleted before a node has it. */
    DELETED_BEFORE_A_NODE_HAS_IT,
    /** The second pod is deleted while a node starts it. */
    DELETED_WHILE_IT_STARTS,
    /** The second pod is deleted while it trains. */
    DELETED_WHILE_IT_TRAINS,
    /** The second pod is deleted after the first has ended well. */
    DELETED_AFTER_THE_OTHER_ENDED,
    /** The program of the second pod is killed; while the gang stops, the first is deleted. */
    DELETED_WHILE_THE_GANG_STOPS;

    boolean counts() {
      return this == PROGRAM_DIES || this == DELETED_WHILE_THE_GANG_STOPS;
    }
  }

  private final RealApi api;
  private final String namespace;
  private final Mishap mishap;
  private final PodPlay play;
  private final Watch births;

  /** Uids of all pods that ever were, by start and name. */
  private final Map<String, Set<String>> born = new ConcurrentHashMap<>();

  private boolean broken;
  private boolean deletedOnceMore;

  /** What rank 0 says, for the operator's probe. */
  private volatile RunStatus said;

  Story(RealApi api, String namespace) {
    this(api, namespace, Mishap.PROGRAM_DIES, 0);
  }

  Story(RealApi api, String namespace, Mishap mishap, int backoffSeconds) {
    this.api = api;
    this.namespace = namespace;
    this.mishap = mishap;
    play = new PodPlay(api.client());
    births = api.client().pods().inNamespace(namespace).watch(new Births());
    api.createJob(namespace, JOB, backoffSeconds);
  }

  /** What the operator's probe hears. */
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
        throw new AssertionError(
            "not over in time: "
                + job().getStatus()
                + " pods "
                + pods().stream().map(p -> start(p) + "/" + phase(p)).toList());
      }
      move();
      between.run();
      Thread.sleep(50);
    }
    PretrainJobStatus status = job().getStatus();
    assertThat(status.holds(ConditionType.Complete)).as("%s", status.conditions()).isTrue();
    assertThat(status.restarts()).isEqualTo(mishap.counts() ? 1 : 0);
    assertThat(status.disruptions()).isEqualTo(mishap.counts() ? 0 : 1);
    assertThat(status.attempt().number()).isEqualTo(2);
    assertThat(born)
        .containsOnlyKeys("1/story-0", "1/story-1", "2/story-0", "2/story-1")
        .allSatisfy((name, uids) -> assertThat(uids).as(name).hasSize(1));
  }

  private boolean over() {
    PretrainJobStatus status = job().getStatus();
    return status != null
        && (status.holds(ConditionType.Complete) || status.holds(ConditionType.Failed));
  }

  private List<Pod> pods() {
    return play.pods(namespace, JOB).stream()
        .sorted(Comparator.comparing(pod -> pod.getMetadata().getName()))
        .toList();
  }

  /** One look of scheduler and kubelet. */
  private void move() {
    List<Pod> pods = pods();
    Set<String> starts = pods.stream().map(Story::start).collect(Collectors.toSet());
    assertThat(starts).as("starts at once").hasSizeLessThanOrEqualTo(1);
    boolean formed = formed() && pods.size() == 2;
    if (formed && starts.contains("1") && !broken) {
      broken = strike(pods);
    }
    if (mishap == Mishap.DELETED_WHILE_THE_GANG_STOPS
        && !deletedOnceMore
        && pods.stream().anyMatch(Story::deleting)) {
      deletedOnceMore = true;
      play.delete(pods.getFirst());
      return;
    }
    pods.forEach(this::advance);
    boolean training = formed && pods.stream().allMatch(p -> phase(p).equals("Running"));
    said = training && !broken ? training() : null;
    if (training && starts.contains("2")) {
      pods.forEach(pod -> play.end(pod, 0));
    }
  }

  private boolean formed() {
    PretrainJobStatus status = job().getStatus();
    return status != null
        && status.attempt() != null
        && Boolean.TRUE.equals(status.attempt().formed());
  }

  /** A pod's next phase: bound, running, and gone when it was told to go. */
  private void advance(Pod pod) {
    if (deleting(pod)) {
      play.letGo(pod);
    } else if (pod.getSpec().getNodeName() == null) {
      if (broken || mishap != Mishap.DELETED_BEFORE_A_NODE_HAS_IT) {
        play.bind(pod);
      }
    } else if (phase(pod).equals("Pending")
        && (broken || mishap != Mishap.DELETED_WHILE_IT_STARTS)) {
      play.run(pod);
    }
  }

  /** The mishap, when its moment has come. */
  private boolean strike(List<Pod> pods) {
    Pod first = pods.getFirst();
    Pod second = pods.getLast();
    boolean bound = pods.stream().allMatch(p -> p.getSpec().getNodeName() != null);
    boolean running = pods.stream().allMatch(p -> phase(p).equals("Running"));
    return switch (mishap) {
      case PROGRAM_DIES, DELETED_WHILE_THE_GANG_STOPS -> {
        if (running) {
          play.end(second, 137);
        }
        yield running;
      }
      case DELETED_BEFORE_A_NODE_HAS_IT -> {
        play.delete(second);
        yield true;
      }
      case DELETED_WHILE_IT_STARTS -> {
        if (bound) {
          play.delete(second);
        }
        yield bound;
      }
      case DELETED_WHILE_IT_TRAINS -> {
        if (running) {
          play.delete(second);
        }
        yield running;
      }
      case DELETED_AFTER_THE_OTHER_ENDED -> {
        if (running) {
          play.end(first, 0);
          play.delete(second);
        }
        yield running;
      }
    };
  }

  /** A program that takes its steps. */
  static RunStatus training() {
    return status(
        """
        {"phase": "Training", "step": 7, "totalSteps": 100, "tokens": 7168, "loss": 2.0,
         "updatedAt": "2026-01-01T00:00:00Z"}
        """);
  }

  /** A program that has not begun with its steps. */
  static RunStatus before(RunStatus.Phase phase) {
    return status(
        """
        {"phase": "%s", "step": 0, "totalSteps": 100, "tokens": 0,
         "updatedAt": "2026-01-01T00:00:00Z"}
        """
            .formatted(phase));
  }

  private static RunStatus status(String json) {
    try {
      return new ObjectMapper().readValue(json, RunStatus.class);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String start(Pod pod) {
    return pod.getMetadata().getLabels().get("perigee.dev/generation");
  }

  private static String phase(Pod pod) {
    return pod.getStatus().getPhase();
  }

  private static boolean deleting(Pod pod) {
    return pod.getMetadata().getDeletionTimestamp() != null;
  }

  @Override
  public void close() {
    births.close();
  }

  private final class Births implements Watcher<Pod> {
    @Override
    public void eventReceived(Action action, Pod pod) {
      if (action == Action.ADDED) {
        born.computeIfAbsent(
                start(pod) + "/" + pod.getMetadata().getName(), k -> ConcurrentHashMap.newKeySet())
            .add(pod.getMetadata().getUid());
      }
    }

    @Override
    public void onClose(WatcherException e) {
      // Closed by the story; a break in between is mended by the client.
    }
  }
}
