package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.io.OutputStream;

/** Where the logs of pods come from: the node that runs them. */
@FunctionalInterface
public interface PodLogs {
  /**
   * What of a log is asked for.
   *
   * @param container which container; empty for the only one
   * @param follow whether to go on until the container ends
   * @param previous whether of the run before the last restart
   * @param timestamps whether each line begins with its time
   * @param tailLines only the last ones; negative for all
   * @param sinceSeconds only the newest; negative for all
   * @param limitBytes at most so many; negative for all
   */
  record Query(
      String container,
      boolean follow,
      boolean previous,
      boolean timestamps,
      long tailLines,
      long sinceSeconds,
      long limitBytes) {}

  /** The answer's body, opened once it is clear that there is a log. */
  @FunctionalInterface
  interface Answer {
    /** Starts the answer. */
    OutputStream open() throws IOException;
  }

  /**
   * Writes a pod's log.
   *
   * @throws ApiError 400 when the container has not started or does not exist
   * @throws IOException when the reader is gone
   */
  void write(JsonNode pod, Query query, Answer answer) throws IOException, InterruptedException;
}
