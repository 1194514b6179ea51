package dev.perigee.cli.cluster;

import dev.perigee.cli.cluster.node.Programs;
import java.util.List;
import java.util.Optional;

/** One image, {@code shell}, whose args are a script. */
public final class ShellPrograms implements Programs {
  @Override
  public Optional<Program> of(String image) {
    return Programs.shortName(image).equals("shell")
        ? Optional.of(new Program(List.of("/bin/sh", "-c"), false))
        : Optional.empty();
  }
}
