package dev.perigee.cli;

import picocli.CommandLine.Command;
import picocli.CommandLine.IVersionProvider;

/** {@code ./perigee version}. */
@Command(
    name = "version",
    description = "Print the versions of Perigee and of the JDK.",
    mixinStandardHelpOptions = true)
final class VersionCommand implements Runnable, IVersionProvider {
  @Override
  public void run() {
    for (String line : getVersion()) {
      Perigee.out().println(line);
    }
  }

  @Override
  public String[] getVersion() {
    String own = Perigee.class.getPackage().getImplementationVersion();
    return new String[] {
      "perigee " + (own == null ? "0.1.0-SNAPSHOT" : own),
      "java "
          + Runtime.version()
          + " on "
          + System.getProperty("os.name")
          + " "
          + System.getProperty("os.arch")
    };
  }
}
