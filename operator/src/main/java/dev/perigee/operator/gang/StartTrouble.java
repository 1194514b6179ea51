package dev.perigee.operator.gang;

import dev.perigee.api.GangAttempt;
import io.fabric8.kubernetes.api.model.Event;
import io.fabric8.kubernetes.api.model.ListOptionsBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Why a pod that has a node does not start, in the words of its kubelet. A volume that cannot be
 * mounted, a network that is not there and a runtime that the node lacks are written to Events and
 * not to the pod, which only says that its container is being created.
 */
public final class StartTrouble {
  private static final Logger LOG = LoggerFactory.getLogger(StartTrouble.class);

  /** A start that goes well needs no question; a kubelet that mounts a volume late says so. */
  private static final Duration PATIENCE = Duration.ofSeconds(10);

  /** Pods of a gang are alike, and so is what holds them up: some of them say enough. */
  private static final int ASKED = 4;

  /** Events of one pod that are read: a kubelet counts what it repeats. */
  private static final long EVENTS = 100;

  private static final int LONGEST = 600;

  /** What a kubelet says when it got past all trouble with volumes, network and runtime. */
  private static final Set<String> GOES_ON = Set.of("Pulling", "Pulled", "Created", "Started");

  /** Of the scheduler before a node was found, and what a pod starts in spite of. */
  private static final Set<String> NO_FAULT =
      Set.of("FailedScheduling", "FailedToRetrieveImagePullSecret");

  /** A kubelet's summary of a wait for volumes, without the reason, which another Event has. */
  private static final String SUMMARY = "Unable to attach or mount volumes";

  /** An API server goes through all Events of a namespace to find those of one pod. */
  private static final Duration FRESH = Duration.ofSeconds(10);

  /** What was last read of pods, by uid, while it is fresh. */
  private final Map<String, Answer> answers = new ConcurrentHashMap<>();

  private record Answer(Optional<String> why, Instant at) {
    boolean isFresh(Instant now) {
      return WrittenTime.isWithin(FRESH, at, now);
    }
  }

  /**
   * The same gang, in which pods that take long to start say why, as far as it can be read.
   *
   * @param attempt its present start, empty before the first
   */
  public ObservedGang read(
      KubernetesClient client,
      String namespace,
      ObservedGang observed,
      Optional<GangAttempt> attempt,
      Instant now) {
    answers.values().removeIf(answer -> !answer.isFresh(now));
    return attempt.filter(start -> takesLong(start, now)).stream()
        .flatMap(start -> observed.of(start.number()).stream())
        .filter(pod -> pod.phase() == PodState.Phase.Pending && pod.binding().bound())
        .filter(pod -> pod.container().trouble() == null && !pod.deleting())
        .limit(ASKED)
        .flatMap(
            pod ->
                answer(client, namespace, pod, now)
                    .map(why -> observed.troubled(pod, why))
                    .stream())
        .findFirst()
        .orElse(observed);
  }

  private Optional<String> answer(
      KubernetesClient client, String namespace, PodState pod, Instant now) {
    Answer known = answers.get(pod.uid());
    if (known == null) {
      known = new Answer(of(events(client, namespace, pod)), now);
      answers.put(pod.uid(), known);
    }
    return known.why();
  }

  private static boolean takesLong(GangAttempt attempt, Instant now) {
    return attempt.phase() == GangAttempt.Phase.ImagePull
        && WrittenTime.read(attempt.phaseTime())
            .filter(since -> !since.plus(PATIENCE).isAfter(now))
            .isPresent();
  }

  /** Empty when they cannot be read: then a job still says that its pods start. */
  private static List<Event> events(KubernetesClient client, String namespace, PodState pod) {
    try {
      return client
          .v1()
          .events()
          .inNamespace(namespace)
          .list(
              new ListOptionsBuilder()
                  .withFieldSelector("involvedObject.uid=" + pod.uid())
                  .withLimit(EVENTS)
                  .build())
          .getItems();
    } catch (RuntimeException e) { // the client's, and those of a connection that breaks
      LOG.debug("the Events of pod {} cannot be read", pod.name(), e);
      return List.of();
    }
  }

  /** What the Events of a pod come to, empty when it gets on. */
  static Optional<String> of(List<Event> all) {
    List<Event> events = all.stream().filter(event -> event.getReason() != null).toList();
    Instant wentOn =
        events.stream()
            .filter(event -> GOES_ON.contains(event.getReason()))
            .map(StartTrouble::time)
            .max(Comparator.naturalOrder())
            .orElse(Instant.MIN);
    return events.stream()
        .filter(event -> isFault(event.getReason()) && event.getMessage() != null)
        .filter(event -> time(event).isAfter(wentOn))
        .max(
            Comparator.<Event, Boolean>comparing(event -> !event.getMessage().startsWith(SUMMARY))
                .thenComparing(StartTrouble::time))
        .map(event -> event.getReason() + ": " + lasting(event.getMessage()));
  }

  private static boolean isFault(String reason) {
    return !NO_FAULT.contains(reason)
        && (reason.startsWith("Failed") || reason.equals("NetworkNotReady"));
  }

  private static Instant time(Event event) {
    return Stream.of(
            event.getLastTimestamp(),
            event.getSeries() == null || event.getSeries().getLastObservedTime() == null
                ? null
                : event.getSeries().getLastObservedTime().getTime(),
            event.getEventTime() == null ? null : event.getEventTime().getTime(),
            event.getMetadata().getCreationTimestamp())
        .filter(Objects::nonNull)
        .flatMap(written -> WrittenTime.read(written).stream())
        .findFirst()
        .orElse(Instant.MIN);
  }

  /** Without the names of sandboxes: each try has another, and would be news. */
  private static String lasting(String message) {
    String line =
        message.replaceAll("\\s*\"?\\b[0-9a-f]{64}\\b\"?", "").replaceAll("\\s+", " ").strip();
    return line.length() <= LONGEST ? line : line.substring(0, LONGEST) + " …";
  }
}
