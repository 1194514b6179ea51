package dev.perigee.operator.gang;

import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.Optional;

/** Times that were written into an object, by a program or a person. */
public final class WrittenTime {
  private WrittenTime() {}

  /** The time, empty for null and for what is none in RFC 3339. */
  public static Optional<Instant> read(String rfc3339) {
    if (rfc3339 == null) {
      return Optional.empty();
    }
    try {
      return Optional.of(Instant.parse(rfc3339));
    } catch (DateTimeParseException e) {
      return Optional.empty();
    }
  }
}
