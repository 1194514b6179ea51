package dev.perigee.operator.gang;

import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.Optional;

/**
 * Times that were written into an object, by a program or a person. Whoever wrote them may have a
 * clock that differs from the operator's.
 */
public final class WrittenTime {
  /** RFC 3339 has four digits for a year. What is further off could not be reckoned with. */
  private static final Instant FIRST = Instant.parse("0000-01-01T00:00:00Z");

  private static final Instant END = Instant.parse("+10000-01-01T00:00:00Z");

  private WrittenTime() {}

  /** The time, empty for null and for what is none in RFC 3339. */
  public static Optional<Instant> read(String rfc3339) {
    if (rfc3339 == null) {
      return Optional.empty();
    }
    try {
      return Optional.of(Instant.parse(rfc3339))
          .filter(time -> !time.isBefore(FIRST) && time.isBefore(END));
    } catch (DateTimeParseException e) {
      return Optional.empty();
    }
  }

  /**
   * Whether something happened so recently that it is worth waiting for what follows from it. A
   * time further ahead than the wait itself was written by a clock that is ahead, and says nothing:
   * nobody waits for that clock to be reached.
   */
  static boolean isWithin(Duration wait, Instant happened, Instant now) {
    return Duration.between(happened, now).abs().compareTo(wait) < 0;
  }

  /** Whether a time can be read and has come. */
  public static boolean isPast(String rfc3339, Instant now) {
    return read(rfc3339).filter(time -> !time.isAfter(now)).isPresent();
  }
}
