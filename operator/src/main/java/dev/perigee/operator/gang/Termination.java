package dev.perigee.operator.gang;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.RunStatus;
import java.util.Optional;

/** What a container's termination message says: a last status, or a line. */
public final class Termination {
  private static final int LONGEST = 1024;
  private static final ObjectMapper JSON =
      new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);

  private Termination() {}

  /** The program's last status, when the message is one. */
  public static Optional<RunStatus> status(String message) {
    if (message == null || !message.stripLeading().startsWith("{")) {
      return Optional.empty();
    }
    try {
      return Optional.of(JSON.readValue(message, RunStatus.class));
    } catch (JsonProcessingException e) {
      return Optional.empty(); // cut off, or not ours: it says nothing that can be relied on
    }
  }

  /** One line for a person: the status's message, else the last line of the text; null for none. */
  static String line(String message) {
    if (message == null) {
      return null;
    }
    Optional<RunStatus> status = status(message);
    if (status.isPresent()) {
      return cut(status.get().message());
    }
    return cut(message.lines().filter(l -> !l.isBlank()).reduce((a, b) -> b).orElse(null));
  }

  private static String cut(String line) {
    return line == null || line.length() <= LONGEST ? line : line.substring(0, LONGEST) + "…";
  }
}
