package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

/** Where a container is in its life, as the API tells it. */
sealed interface ContainerState {
  /** Not running, and why; {@code reason} is one that a kubelet gives, like ErrImagePull. */
  record Waiting(String reason, String message) implements ContainerState {}

  /** Running. */
  record Running(Instant startedAt, boolean ready) implements ContainerState {}

  /** Ended; {@code message} is what the program left in its termination message. */
  record Terminated(int exitCode, String message, Instant startedAt, Instant finishedAt)
      implements ContainerState {
    /** Why, in a kubelet's words. */
    String reason() {
      return exitCode == 0 ? "Completed" : "Error";
    }
  }

  /** The state as in {@code status.containerStatuses[].state}. */
  default ObjectNode toJson() {
    ObjectNode state = Json.object();
    switch (this) {
      case Waiting(String reason, String message) -> {
        ObjectNode waiting = state.putObject("waiting").put("reason", reason);
        if (!message.isEmpty()) {
          waiting.put("message", message);
        }
      }
      case Running(Instant startedAt, boolean ready) ->
          state.putObject("running").put("startedAt", time(startedAt));
      case Terminated t -> {
        ObjectNode terminated =
            state
                .putObject("terminated")
                .put("exitCode", t.exitCode())
                .put("reason", t.reason())
                .put("startedAt", time(t.startedAt()))
                .put("finishedAt", time(t.finishedAt()));
        if (!t.message().isEmpty()) {
          terminated.put("message", t.message());
        }
      }
    }
    return state;
  }

  /** A time as the API writes it. */
  static String time(Instant instant) {
    return instant.truncatedTo(ChronoUnit.SECONDS).toString();
  }
}
