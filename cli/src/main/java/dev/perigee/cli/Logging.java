package dev.perigee.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.logging.ConsoleHandler;
import java.util.logging.FileHandler;
import java.util.logging.Formatter;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogManager;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;

/** What the cluster's parts log: all of it in a file, severe things as one line for people. */
final class Logging {
  private static final Logger ROOT = Logger.getLogger("");

  /** Held, because a logger that nobody holds forgets its level. */
  private static final Logger VERSIONS =
      Logger.getLogger("io.fabric8.kubernetes.client.dsl.internal.VersionUsageUtils");

  private Logging() {}

  /** Severe things to standard error. */
  static void toConsole() {
    LogManager.getLogManager().reset();
    ROOT.setLevel(Level.WARNING);
    VERSIONS.setLevel(Level.SEVERE); // that our own kind is v1alpha1 is no news
    Handler console = new ConsoleHandler();
    console.setLevel(Level.SEVERE);
    console.setFormatter(
        new Formatter() {
          @Override
          public String format(LogRecord line) {
            return "perigee: " + formatMessage(line) + "\n";
          }
        });
    ROOT.addHandler(console);
  }

  /** Warnings and more, with their stack traces, to a file too. */
  static void toFile(Path file) throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    Handler handler = new FileHandler(file.toString());
    handler.setFormatter(new SimpleFormatter());
    handler.setLevel(Level.WARNING);
    ROOT.addHandler(handler);
  }
}
