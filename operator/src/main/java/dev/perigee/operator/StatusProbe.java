package dev.perigee.operator;

import dev.perigee.run.RunStatus;
import java.util.Optional;

/** Asks a program how it is doing. */
@FunctionalInterface
public interface StatusProbe {
  /**
   * What the program answers at {@code /status}.
   *
   * @param host the pod's address
   * @param port the program's HTTP port
   * @return empty when nothing sensible came back in time, which is no error: the program may not
   *     have come up yet, or be on its way out
   */
  Optional<RunStatus> ask(String host, int port);
}
