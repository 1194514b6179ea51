package dev.perigee.operator.pretrain;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.api.Condition;
import dev.perigee.api.ConditionType;
import dev.perigee.api.GangAttempt;
import dev.perigee.api.GangFailure;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.operator.gang.ObservedGang;
import dev.perigee.operator.gang.WrittenTime;
import io.fabric8.kubernetes.api.model.Service;
import io.fabric8.kubernetes.api.model.ServiceBuilder;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * What must not be forgotten of a job, and cannot be seen in the cluster: which start of the gang
 * this is, what was counted, how it ended. It is an annotation of the job's Service, written before
 * the status. A status is for people, who may edit or wipe it; where the two differ, this holds,
 * and the status is written anew. What is not in here is seen again at the next look.
 *
 * @param attempt number of the current start of the gang, or of the next
 * @param notBefore when that may begin, null for at once
 * @param restarts restarts that counted
 * @param disruptions restarts that did not
 * @param lastFailure why the gang last broke, null when it never did
 * @param startTime when the first pods were asked for, null while suspended
 * @param ended how the job ended, null while it has not
 * @param scheduling who let the current start in
 * @param source what model.from was resolved to
 */
@JsonInclude(JsonInclude.Include.NON_NULL)
record JobRecord(
    int attempt,
    String notBefore,
    int restarts,
    int disruptions,
    GangFailure lastFailure,
    String startTime,
    Ending ended,
    PretrainJobStatus.Scheduling scheduling,
    PretrainJobStatus.Source source) {

  /** Annotation of the Service. */
  static final String ANNOTATION = "perigee.dev/record";

  /** Lenient to what a newer operator adds, strict to counts: a missing one is not zero. */
  private static final ObjectMapper JSON =
      new ObjectMapper()
          .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES);

  /** No job starts so often; a greater number leaves no room to count on. */
  private static final int MOST_STARTS = 1_000_000_000;

  /** What the API server takes of a condition; more would be refused at each look. */
  private static final int LONGEST_REASON = 64;

  static final int LONGEST_MESSAGE = 32768;

  private static final int LONGEST_NODE = 253;
  private static final Pattern NODE =
      Pattern.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*");

  /**
   * How a job ended.
   *
   * @param how Complete or Failed
   * @param reason why, one word
   * @param message the same for people
   * @param time when
   * @param checkpoint the last that it made, null for none
   */
  @JsonInclude(JsonInclude.Include.NON_NULL)
  record Ending(
      ConditionType how,
      String reason,
      String message,
      String time,
      PretrainJobStatus.CheckpointReference checkpoint) {
    private boolean isWhole() {
      return (how == ConditionType.Complete || how == ConditionType.Failed)
          && reason != null
          && !reason.isEmpty()
          && reason.length() <= LONGEST_REASON
          && message != null
          && message.length() <= LONGEST_MESSAGE
          && WrittenTime.read(time).isPresent()
          && (checkpoint == null || JobRecord.isWhole(checkpoint));
    }
  }

  /**
   * What is to be remembered of a status that is about to be written; empty before a start.
   *
   * @param before what was remembered until now
   */
  static Optional<JobRecord> of(PretrainJobStatus status, Optional<JobRecord> before) {
    if (status.attempt() == null) {
      return Optional.empty();
    }
    JobRecord record =
        new JobRecord(
            status.attempt().number(),
            status.attempt().notBefore(),
            Objects.requireNonNullElse(status.restarts(), 0),
            Objects.requireNonNullElse(status.disruptions(), 0),
            status.lastFailure(),
            status.startTime(),
            Stream.of(ConditionType.Complete, ConditionType.Failed)
                .flatMap(type -> status.condition(type).filter(Condition::holds).stream())
                .map(c -> ending(c, status))
                .findFirst()
                .orElse(null),
            status.layout() == null
                ? before.map(JobRecord::scheduling).orElse(null)
                : status.layout().scheduling(),
            status.source());
    // One that could not be read would be written again at each look.
    return Optional.of(record).filter(JobRecord::isPossible);
  }

  private static Ending ending(Condition condition, PretrainJobStatus status) {
    return new Ending(
        ConditionType.valueOf(condition.type()),
        condition.reason(),
        condition.message(),
        status.completionTime(),
        status.lastDurableCheckpoint());
  }

  /**
   * What is on record, empty when nothing is, or nothing that can be true: later starts were made
   * by an operator that kept no records.
   */
  static Optional<JobRecord> in(ObservedGang observed) {
    return observed
        .service()
        .map(service -> service.getMetadata().getAnnotations())
        .map(annotations -> annotations.get(ANNOTATION))
        .flatMap(JobRecord::read)
        .filter(record -> record.attempt >= Math.max(1, observed.latest()));
  }

  private static Optional<JobRecord> read(String json) {
    try {
      // The text null is JSON, and is read as null.
      return Optional.ofNullable(JSON.readValue(json, JobRecord.class))
          .filter(JobRecord::isPossible);
    } catch (JsonProcessingException e) {
      return Optional.empty(); // changed by hand; it will be written anew
    }
  }

  /** Whether an operator can have written this; what it needs of a record is there then. */
  private boolean isPossible() {
    return isStart(attempt)
        && isCount(restarts)
        && isCount(disruptions)
        && isTime(notBefore)
        && isTime(startTime)
        && (lastFailure == null || isWhole(lastFailure))
        && (ended == null || ended.isWhole())
        && isUsable(scheduling)
        && (source == null || isWhole(source));
  }

  private static boolean isUsable(PretrainJobStatus.Scheduling scheduling) {
    return scheduling == null || scheduling.adapter() != null;
  }

  private static boolean isStart(Integer number) {
    return number != null && number > 0 && number <= MOST_STARTS;
  }

  private static boolean isCount(Integer count) {
    return count != null && count >= 0 && count <= MOST_STARTS;
  }

  private static boolean isTime(String written) {
    return written == null || WrittenTime.read(written).isPresent();
  }

  private static boolean isWhole(GangFailure failure) {
    return failure.attempt() != null
        && failure.reason() != null
        && failure.action() != null
        && (failure.rejectedBy() == null
            || failure.rejectedBy().stream().allMatch(JobRecord::isNode));
  }

  /** Whether it may be the name of a node; of another the API server takes no affinity. */
  private static boolean isNode(String name) {
    return name != null && name.length() <= LONGEST_NODE && NODE.matcher(name).matches();
  }

  /** A source without a checkpoint would let a job begin with random weights. */
  private static boolean isWhole(PretrainJobStatus.Source source) {
    return source.pretrainJob() != null
        && source.checkpoint() != null
        && isWhole(source.checkpoint());
  }

  /** Whether it says where the checkpoint lies. */
  static boolean isWhole(PretrainJobStatus.CheckpointReference checkpoint) {
    return checkpoint.step() != null && checkpoint.path() != null && checkpoint.volume() != null;
  }

  /** The Service with this record. */
  Service on(Service service) {
    try {
      return new ServiceBuilder(service)
          .editMetadata()
          .addToAnnotations(ANNOTATION, JSON.writeValueAsString(this))
          .endMetadata()
          .build();
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("a record that cannot be written as JSON", e);
    }
  }

  /**
   * Whether a status says more than is on record, though the record is written first: somebody
   * edited it, or what is known of the Service is old.
   */
  static boolean isBehind(PretrainJobStatus status, ObservedGang observed) {
    return status != null
        && status.attempt() != null
        && status.attempt().number() != null
        && in(observed).filter(r -> status.attempt().number() > r.attempt).isPresent();
  }

  /**
   * A status as the operator may go by it: what is on record put right, or, where nothing was ever
   * made for the job, without what could only have come of that.
   */
  static PretrainJobStatus trusted(PretrainJobStatus status, ObservedGang observed, Instant now) {
    PretrainJobStatus possible = possible(status);
    Optional<JobRecord> record = in(observed);
    if (record.isPresent()) {
      return record.get().put(possible, now);
    }
    boolean ended = status.holds(ConditionType.Complete) || status.holds(ConditionType.Failed);
    return observed.isNothing() && !ended ? unstarted(possible) : possible;
  }

  /** Nothing was made, so nothing broke. */
  private static PretrainJobStatus unstarted(PretrainJobStatus status) {
    GangAttempt attempt = status.attempt();
    boolean tried =
        status.startTime() != null
            && attempt != null
            && Integer.valueOf(1).equals(attempt.number())
            && !Boolean.TRUE.equals(attempt.formed());
    return new PretrainJobStatus(
        status.observedGeneration(),
        status.conditions(),
        status.layout(),
        tried ? attempt : null,
        null,
        null,
        null,
        status.progress(),
        status.evaluation(),
        status.lastDurableCheckpoint(),
        status.source(),
        status.startTime(),
        status.completionTime());
  }

  /** What the status says, if it can be so; what cannot is as if it had never been said. */
  private static PretrainJobStatus possible(PretrainJobStatus status) {
    return new PretrainJobStatus(
        status.observedGeneration(),
        status.conditions(),
        onlyIf(status.layout(), layout -> isUsable(layout.scheduling())),
        possible(status.attempt()),
        onlyIf(status.restarts(), JobRecord::isCount),
        onlyIf(status.disruptions(), JobRecord::isCount),
        onlyIf(status.lastFailure(), JobRecord::isWhole),
        onlyIf(status.progress(), progress -> progress.step() != null),
        status.evaluation(),
        onlyIf(status.lastDurableCheckpoint(), JobRecord::isWhole),
        onlyIf(status.source(), JobRecord::isWhole),
        onlyIf(status.startTime(), JobRecord::isTime),
        onlyIf(status.completionTime(), JobRecord::isTime));
  }

  private static GangAttempt possible(GangAttempt attempt) {
    return attempt == null || !isStart(attempt.number())
        ? null
        : new GangAttempt(
            attempt.number(),
            attempt.formed(),
            onlyIf(attempt.notBefore(), JobRecord::isTime),
            attempt.phase(),
            attempt.phaseTime());
  }

  private static <T> T onlyIf(T value, Predicate<T> isRight) {
    return value != null && isRight.test(value) ? value : null;
  }

  private PretrainJobStatus put(PretrainJobStatus status, Instant now) {
    return new PretrainJobStatus(
        status.observedGeneration(),
        conditions(status),
        layout(status.layout()),
        attempt(status.attempt(), now),
        restarts,
        disruptions,
        lastFailure,
        status.progress(),
        status.evaluation(),
        ended == null ? status.lastDurableCheckpoint() : ended.checkpoint,
        source,
        startTime,
        ended == null ? null : ended.time);
  }

  /** How far the start has come is seen again, unless that is of this very start. */
  private GangAttempt attempt(GangAttempt written, Instant now) {
    boolean begun = startTime != null && written != null;
    if (!begun || !Integer.valueOf(attempt).equals(written.number())) {
      return GangAttempt.of(attempt, notBefore);
    }
    return new GangAttempt(
        attempt,
        written.formed(),
        notBefore,
        written.phase(),
        isBeforeStart(written.phaseTime(), now) ? null : written.phaseTime());
  }

  /**
   * No phase began before its start did; the deadline of one that says so would be over at once.
   */
  private boolean isBeforeStart(String phaseTime, Instant now) {
    Optional<Instant> phase = WrittenTime.read(phaseTime);
    return Stream.of(startTime, notBefore)
        .filter(begin -> WrittenTime.isPast(begin, now))
        .flatMap(begin -> WrittenTime.read(begin).stream())
        .map(begin -> begin.truncatedTo(ChronoUnit.SECONDS)) // as phases are written
        .anyMatch(begin -> phase.filter(p -> p.isBefore(begin)).isPresent());
  }

  private PretrainJobStatus.Layout layout(PretrainJobStatus.Layout written) {
    if (scheduling == null || (written != null && scheduling.equals(written.scheduling()))) {
      return written;
    }
    // The rest comes from the plan.
    return new PretrainJobStatus.Layout(null, null, null, null, null, null, scheduling, null);
  }

  /** An end is what is on record, and nothing else is. */
  private List<Condition> conditions(PretrainJobStatus status) {
    return Stream.concat(
            status.conditions().stream().filter(c -> !isEnd(c) || (!c.holds() && !isMine(c))),
            ended == null
                ? Stream.empty()
                : Stream.of(
                    status
                        .condition(ended.how)
                        .filter(c -> c.holds() && c.reason().equals(ended.reason))
                        .filter(c -> c.message().equals(ended.message))
                        .orElseGet(() -> condition(status))))
        .toList();
  }

  private static boolean isEnd(Condition condition) {
    return condition.type().equals(ConditionType.Complete.name())
        || condition.type().equals(ConditionType.Failed.name());
  }

  private boolean isMine(Condition condition) {
    return ended != null && condition.type().equals(ended.how.name());
  }

  private Condition condition(PretrainJobStatus status) {
    return new Condition(
        ended.how.name(),
        Condition.Status.True,
        ended.reason,
        ended.message,
        ended.time,
        Objects.requireNonNullElse(status.observedGeneration(), 0L));
  }
}
