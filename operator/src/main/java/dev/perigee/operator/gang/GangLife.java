package dev.perigee.operator.gang;

import dev.perigee.api.ConditionReason;
import dev.perigee.api.FailurePolicy;
import dev.perigee.api.FailurePolicy.PodReason;
import dev.perigee.api.GangAttempt;
import dev.perigee.api.GangFailure;
import dev.perigee.run.ExitCode;
import dev.perigee.run.RunStatus;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.SequencedSet;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Where a gang is in its life, and what has to be remembered of it. The status of its resource is
 * the only memory: it is written before anything is done about it, so an operator that dies in
 * between decides the same again and counts nothing twice.
 *
 * @param state what to do now
 * @param attempt the current start of the gang, or the next one
 * @param restarts restarts that counted
 * @param disruptions restarts that did not
 * @param lastFailure why the gang last broke, null when it never did
 */
public record GangLife(
    State state, GangAttempt attempt, int restarts, int disruptions, GangFailure lastFailure) {

  /** Name of the failure of a job that took longer than its active deadline. */
  private static final String DEADLINE_EXCEEDED = ConditionReason.DeadlineExceeded.name();

  /** The highest number of a signal on Linux. */
  private static final int LAST_SIGNAL = 64;

  /** How long a program may take to notice that a peer is gone, and to end. */
  private static final Duration NOTICING = Duration.ofSeconds(30);

  /** What the operator does; names of nodes come after it. */
  private static final String ELSEWHERE = "; the next start prefers other nodes than ";

  /** So many nodes are remembered: were there more, something else is wrong than some nodes. */
  private static final int SHUNNED = 8;

  /** What a person can do; the node's name stands before it. */
  private static final String TURNED_AWAY_AGAIN =
      "; a pod was turned away again: if it goes on, cordon the node, and the scheduler takes"
          + " another";

  /** Reasons for which all programs are told to stop, and save together first. */
  private static final Set<String> SAVING =
      Set.of(
          PodReason.Deleted.name(),
          PodReason.Evicted.name(),
          PodReason.Preempted.name(),
          PodReason.Deactivated.name());

  /** What to do now. */
  public sealed interface State {
    /** The gang of the current attempt should run. */
    record Running() implements State {}

    /** The next attempt waits: for old pods to go, or for a time. */
    record Waiting(int oldPods, Instant notBefore) implements State {}

    /** No pods until somebody suspends and resumes it: it was turned away from its queue. */
    record Deactivated(int podsLeft) implements State {}

    /** No pods, because that was asked for. */
    record Suspended(int podsLeft) implements State {}

    /** All is done and saved. */
    record Complete() implements State {}

    /** It failed for good. */
    record Failed(ConditionReason reason, String message) implements State {}
  }

  /**
   * What is asked of a gang.
   *
   * @param podNames names of its places by index; a spare that took one has a name of its own
   * @param suspend whether it should hold no pods
   * @param changed whether the current attempt was started for another specification than this
   * @param inPlace whether pods that are well stay over a restart
   * @param policy what to do when it breaks
   * @param deadline when it is to have ended, null for whenever
   */
  public record Wish(
      List<String> podNames,
      boolean suspend,
      boolean changed,
      boolean inPlace,
      FailurePolicy policy,
      Instant deadline) {
    public Wish {
      podNames = List.copyOf(podNames);
    }
  }

  /**
   * What was written down of a gang. Nothing of it is taken on trust that can be seen: somebody may
   * have edited a status by hand, or wiped it.
   *
   * @param attempt the last attempt, null when none is remembered
   * @param complete whether it was found complete
   * @param failed why it failed for good, null when it has not
   */
  public record Memory(
      GangAttempt attempt,
      Integer restarts,
      Integer disruptions,
      GangFailure lastFailure,
      boolean complete,
      State.Failed failed) {

    private GangLife life(ObservedGang observed) {
      int latest = observed.latest();
      GangAttempt known = attempt;
      if (known == null
          || known.number() == null
          || known.number() < Math.max(1, latest)
          || (latest > 0 && known.number() > latest + 1)) {
        // Forgotten, or changed by hand: what is in the cluster knows better.
        known = GangAttempt.of(Math.max(1, latest), null);
      }
      return new GangLife(
          new State.Running(),
          new GangAttempt(
              known.number(),
              Objects.requireNonNullElse(known.formed(), false),
              known.notBefore(),
              known.phase(),
              known.phaseTime()),
          Math.max(0, Objects.requireNonNullElse(restarts, 0)),
          Math.max(0, Objects.requireNonNullElse(disruptions, 0)),
          lastFailure);
    }

    /** A gang whose pods still work is not complete, whatever the status says. */
    private boolean isComplete(List<PodState> gang) {
      return complete && gang.stream().allMatch(PodState::ended);
    }

    /** A final failure is always on record as one. */
    private boolean isFailed() {
      return failed != null
          && lastFailure != null
          && lastFailure.action() == FailurePolicy.Action.Fail;
    }
  }

  /**
   * The next moment of a gang's life: a pure function.
   *
   * @param said what index 0 says, empty when it says nothing
   */
  public static GangLife next(
      Wish wish, Memory memory, ObservedGang observed, Optional<RunStatus> said, Instant now) {
    GangLife life = memory.life(observed);
    List<PodState> gang = observed.of(life.attempt.number());
    if (memory.isComplete(gang)) {
      return life.in(new State.Complete());
    }
    if (memory.isFailed()) {
      return life.in(memory.failed());
    }
    if (!wish.podNames().isEmpty()
        && gang.size() == wish.podNames().size()
        && gang.stream().allMatch(p -> p.phase() == PodState.Phase.Succeeded)) {
      return life.in(new State.Complete());
    }
    boolean started = life.attempt.formed() || observed.has(life.attempt.number());
    if (wish.suspend()) {
      GangLife stopped = started ? life.withNextAttempt(null) : life.invited();
      return stopped.in(new State.Suspended(observed.pods().size()));
    }
    if (wish.deadline() != null && !wish.deadline().isAfter(now)) {
      return life.tooLate(wish.deadline(), now);
    }
    if (wish.changed() && started) {
      return life.withNextAttempt(null).in(new State.Waiting(observed.pods().size(), now));
    }
    if (!started && life.deactivated()) {
      return life.in(new State.Deactivated(observed.pods().size()));
    }
    return switch (Breakage.find(
        gang,
        wish.podNames(),
        life.attempt.formed(),
        wish.policy().nodeConditions(),
        HangWatch.getsOn(said),
        now)) {
      case Breakage.Finding.Broken(var breakage) ->
          life.after(breakage, wish.policy(), gang, observed.members().size(), now);
      case Breakage.Finding.Settling() -> life;
      case Breakage.Finding.Intact() -> life.proceed(wish, observed, said, now);
    };
  }

  private GangLife proceed(
      Wish wish, ObservedGang observed, Optional<RunStatus> said, Instant now) {
    int old =
        (int)
            observed.notOf(attempt.number()).stream()
                .filter(pod -> !(wish.inPlace() && stays(pod)))
                .count();
    Instant notBefore = notBefore(wish.policy(), now);
    if (old > 0 || notBefore.isAfter(now)) {
      return in(new State.Waiting(old, notBefore));
    }
    List<PodState> gang = observed.of(attempt.number());
    Set<Integer> there = gang.stream().map(PodState::index).collect(Collectors.toSet());
    boolean formed =
        attempt.formed() || IntStream.range(0, wish.podNames().size()).allMatch(there::contains);
    GangAttempt advanced =
        StartPhase.advance(
            new GangAttempt(
                attempt.number(),
                formed,
                attempt.notBefore(),
                attempt.phase(),
                attempt.phaseTime()),
            gang,
            wish.podNames().size(),
            said,
            now);
    GangLife life = new GangLife(new State.Running(), advanced, restarts, disruptions, lastFailure);
    return StartPhase.overdue(advanced, wish.policy().deadlines(), gang, now)
        .or(() -> HangWatch.find(wish.policy(), gang, said))
        .map(breakage -> life.after(breakage, wish.policy(), gang, observed.members().size(), now))
        .orElse(life);
  }

  /**
   * When this attempt may begin. No wait is longer than the policy's longest: one that seems to be
   * was written by a clock that was ahead, or by hand, and is over.
   */
  private Instant notBefore(FailurePolicy policy, Instant now) {
    return WrittenTime.read(attempt.notBefore())
        .filter(written -> !written.isAfter(now.plusSeconds(policy.maxBackoffSeconds())))
        .orElse(now);
  }

  /** Kueue has one word for a gang that never was ready, and for one that was and lost a pod. */
  private Breakage told(Breakage breakage) {
    return breakage.reason() == PodReason.ReadyDeadline
            && attempt.phase() == GangAttempt.Phase.Training
        ? new Breakage(breakage.pod(), breakage.exitCode(), PodReason.Evicted, breakage.message())
        : breakage;
  }

  private GangLife after(
      Breakage found, FailurePolicy policy, List<PodState> gang, int pods, Instant now) {
    Breakage breakage = told(found);
    FailurePolicy.Action action = FailureRules.action(policy, breakage);
    boolean counts = action == FailurePolicy.Action.Restart;
    boolean exhausted = counts && restarts >= policy.maxRestarts();
    boolean turnedAwayAgain = breakage.reason() == PodReason.Rejected && wasTurnedAway();
    boolean over = action == FailurePolicy.Action.Fail || exhausted;
    List<String> rejectedBy =
        breakage.reason() == PodReason.Rejected ? rejectedBy(gang) : List.of();
    GangFailure failure =
        failure(
            breakage,
            message(breakage)
                + (over || rejectedBy.isEmpty() ? "" : ELSEWHERE + String.join(", ", rejectedBy))
                + (turnedAwayAgain ? TURNED_AWAY_AGAIN : ""),
            over ? FailurePolicy.Action.Fail : action,
            rejectedBy,
            now);
    if (over) {
      ConditionReason reason = exhausted ? ConditionReason.TooManyRestarts : finalReason(breakage);
      String message =
          exhausted
              ? failure.message() + " (after " + restarts + " restarts, the most allowed)"
              : failure.message();
      return new GangLife(
          new State.Failed(reason, message), attempt, restarts, disruptions, failure);
    }
    int counted = restarts + (counts ? 1 : 0);
    Duration wait =
        turnedAwayAgain && !counts
            ? longerThanBefore(policy)
            : FailureRules.backoff(policy, counts ? counted : 1);
    Instant notBefore = now.plus(wait).truncatedTo(ChronoUnit.MILLIS);
    GangLife next = new GangLife(state, attempt, counted, disruptions + (counts ? 0 : 1), failure);
    GangLife after = next.withNextAttempt(notBefore.toString());
    return after.in(
        after.deactivated() ? new State.Deactivated(pods) : new State.Waiting(pods, notBefore));
  }

  /** Nodes that turned pods away in this attempt and in those in a row before it. */
  private List<String> rejectedBy(List<PodState> gang) {
    SequencedSet<String> nodes = new LinkedHashSet<>();
    broke().map(GangFailure::rejectedBy).ifPresent(nodes::addAll);
    gang.stream()
        .filter(pod -> pod.end().reason() == PodReason.Rejected && pod.binding().bound())
        .map(pod -> pod.binding().nodeName())
        .forEach(nodes::addLast); // also one that was there before
    return nodes.stream().skip(Math.max(0, nodes.size() - SHUNNED)).toList();
  }

  private boolean wasTurnedAway() {
    return broke().map(f -> PodReason.Rejected.name().equals(f.reason())).orElse(false);
  }

  /** Twice the wait before this attempt, up to the policy's longest: nothing else slows it. */
  private Duration longerThanBefore(FailurePolicy policy) {
    long before =
        WrittenTime.read(lastFailure.time())
            .flatMap(
                broke ->
                    WrittenTime.read(attempt.notBefore())
                        .map(begun -> Duration.between(broke, begun).toSeconds()))
            .orElse(0L);
    Duration longest = Duration.ofSeconds(policy.maxBackoffSeconds());
    Duration longer = Duration.ofSeconds(2 * Math.max(1, before));
    return longer.compareTo(longest) < 0 ? longer : longest;
  }

  private GangLife tooLate(Instant deadline, Instant now) {
    String message = "not done by " + deadline + " (activeDeadlineSeconds)";
    return new GangLife(
        new State.Failed(ConditionReason.DeadlineExceeded, message),
        attempt,
        restarts,
        disruptions,
        new GangFailure(
            attempt.number(),
            null,
            null,
            DEADLINE_EXCEEDED,
            message,
            FailurePolicy.Action.Fail,
            now.truncatedTo(ChronoUnit.SECONDS).toString(),
            null));
  }

  /** Why the attempt before this one ended, empty when it ended for no failure. */
  public Optional<GangFailure> broke() {
    return Optional.ofNullable(lastFailure)
        .filter(f -> Objects.equals(f.attempt(), attempt.number() - 1));
  }

  /**
   * Whether a pod of the attempt before waits to be part of this one: its program has ended because
   * of another pod and its container was started again.
   */
  public boolean stays(PodState pod) {
    return pod.canStay() && isOfBroken(pod);
  }

  /**
   * Whether a pod of the attempt before may yet come to stay: its program is about to notice what
   * happened to another, or to save with it, or has ended and is about to be started again.
   */
  public boolean mayStay(PodState pod, Instant now) {
    if (stays(pod)) {
      return true;
    }
    if (!isOfBroken(pod)
        || (pod.phase() != PodState.Phase.Running && !pod.container().returns())
        || pod.deleting()
        || pod.onLostNode()) {
      return false;
    }
    boolean canSave =
        SAVING.contains(broke().orElseThrow().reason()) && lastFailure.exitCode() == null;
    Duration patience = canSave && pod.grace() != null ? Duration.ofSeconds(pod.grace()) : NOTICING;
    return WrittenTime.read(lastFailure.time())
        .map(time -> WrittenTime.isWithin(patience, time, now))
        .orElse(false);
  }

  private boolean isOfBroken(PodState pod) {
    return broke().isPresent() && !hung() && pod.generation() == attempt.number() - 1;
  }

  /** Whether the pods that have to go hang, so that they will not save. */
  public boolean hung() {
    return broke().map(f -> PodReason.Hang.name().equals(f.reason())).orElse(false);
  }

  /**
   * Whether the attempt before this one was turned away from its queue, so that this one does not
   * begin by itself, though it has a time from which it may; a rule can say otherwise.
   */
  private boolean deactivated() {
    return broke()
        .filter(f -> attempt.notBefore() != null)
        .filter(f -> PodReason.Deactivated.name().equals(f.reason()))
        .filter(f -> f.action() == FailurePolicy.Action.RestartWithoutCounting)
        .isPresent();
  }

  /** The same, where the attempt may begin as soon as it is asked for. */
  private GangLife invited() {
    return attempt.notBefore() == null
        ? this
        : new GangLife(
            state, GangAttempt.of(attempt.number(), null), restarts, disruptions, lastFailure);
  }

  private GangLife withNextAttempt(String notBefore) {
    return new GangLife(
        state, GangAttempt.of(attempt.number() + 1, notBefore), restarts, disruptions, lastFailure);
  }

  private GangLife in(State other) {
    return new GangLife(other, attempt, restarts, disruptions, lastFailure);
  }

  private GangFailure failure(
      Breakage breakage,
      String message,
      FailurePolicy.Action action,
      List<String> rejectedBy,
      Instant now) {
    return new GangFailure(
        attempt.number(),
        breakage.pod(),
        breakage.exitCode(),
        reason(breakage),
        message,
        action,
        now.truncatedTo(ChronoUnit.SECONDS).toString(),
        rejectedBy.isEmpty() ? null : rejectedBy);
  }

  private static String message(Breakage breakage) {
    String reason = reason(breakage);
    String said = Termination.line(breakage.message());
    if (breakage.reason() != null && StartPhase.isOfTheWhole(breakage.reason())) {
      return breakage.pod() == null ? said : breakage.pod() + ": " + said;
    }
    String ended =
        breakage.exitCode() == null
            ? breakage.pod() + " is lost (" + reason + ")"
            : breakage.pod() + " exited with " + breakage.exitCode() + " (" + reason + ")";
    return said == null ? ended : ended + ": " + said;
  }

  /** One word for what happened: the cluster's reason, else the exit code's meaning. */
  private static String reason(Breakage breakage) {
    if (breakage.reason() != null) {
      return breakage.reason().name();
    }
    if (breakage.exitCode() == null) {
      return "Unknown";
    }
    int code = breakage.exitCode();
    for (FailurePolicy.ExitMeaning meaning : FailurePolicy.ExitMeaning.values()) {
      if (meaning.exitCode().code() == code) {
        return meaning.name();
      }
    }
    return code > 128 && code <= 128 + LAST_SIGNAL ? "Signal" + (code - 128) : "Unknown";
  }

  private static ConditionReason finalReason(Breakage breakage) {
    if (breakage.reason() != null) {
      return switch (breakage.reason()) {
        case AdmissionDeadline -> ConditionReason.AdmissionDeadline;
        case SchedulingDeadline -> ConditionReason.SchedulingDeadline;
        case ImagePullDeadline -> ConditionReason.ImagePullDeadline;
        case RendezvousDeadline -> ConditionReason.RendezvousDeadline;
        case LoadingDeadline -> ConditionReason.LoadingDeadline;
        case FirstStepDeadline -> ConditionReason.FirstStepDeadline;
        case Hang -> ConditionReason.Hang;
        case OOMKilled,
            Evicted,
            Preempted,
            Deactivated,
            NodeLost,
            Rejected,
            Deleted,
            NodeCondition,
            ReadyDeadline ->
            ConditionReason.FailedByRule;
      };
    }
    Integer code = breakage.exitCode();
    if (code != null && code == ExitCode.BAD_CONFIG.code()) {
      return ConditionReason.BadConfig;
    }
    if (code != null && code == ExitCode.CORRUPT_DATA.code()) {
      return ConditionReason.CorruptData;
    }
    return ConditionReason.FailedByRule;
  }
}
