package dev.perigee.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/**
 * The command {@code ./perigee}. Its exit codes are in its help: 2 is for a command line, or a file
 * that it names, which is not what a command takes; 1 for what was understood and went wrong, on
 * another machine or a minute later perhaps not.
 */
@Command(
    name = "perigee",
    description = "Train language models built like Kimi K2, on this machine as on a cluster.",
    subcommands = {
      RunCommand.class,
      UpCommand.class,
      PlanCommand.class,
      ModelCommand.class,
      BenchCommand.class,
      VersionCommand.class,
      CommandLine.HelpCommand.class
    },
    mixinStandardHelpOptions = true,
    exitCodeListHeading = "Exit codes:%n",
    exitCodeList = {
      "0:all went well, and every job is Complete",
      "1:refused or failed: by the rules for manifests, by what this machine lacks, or on the way",
      "2:not understood: an unknown word, a value that cannot be, a file that is absent or of another kind",
      "130:interrupted by Ctrl-C (143: by SIGTERM)"
    },
    versionProvider = VersionCommand.class)
public final class Perigee implements Runnable {
  @Spec private CommandSpec spec;

  /** Runs one command and exits with its code. */
  public static void main(String[] args) {
    System.exit(execute(args));
  }

  /** Runs one command. */
  static int execute(String... args) {
    Logging.toConsole();
    return execute(new CommandLine(new Perigee()), args);
  }

  /** Runs a command; whatever it throws becomes a line and an exit code. */
  static int execute(CommandLine line, String... args) {
    line.getSubcommands().values().forEach(Perigee::knowsItsVersion);
    try {
      return line.setParameterExceptionHandler(Perigee::usageError)
          .setExecutionExceptionHandler((e, commandLine, parsed) -> failure(e))
          .execute(args);
    } catch (Error e) {
      // Thrown on, it would end this thread alone, and others may keep the process alive.
      return failure(e);
    }
  }

  @Override
  public void run() {
    spec.commandLine().usage(spec.commandLine().getOut());
  }

  /** So that {@code -V} after a command prints what it prints before one. */
  private static void knowsItsVersion(CommandLine command) {
    command.getCommandSpec().versionProvider(new VersionCommand());
    command.getSubcommands().values().forEach(Perigee::knowsItsVersion);
  }

  private static int usageError(ParameterException e, String[] args) {
    System.err.println("perigee: " + e.getMessage().lines().findFirst().orElse("bad usage"));
    System.err.println("Try: ./" + e.getCommandLine().getCommandSpec().qualifiedName() + " --help");
    return 2;
  }

  /** One line for a person; the stack trace of what nobody expected goes to a file. */
  private static int failure(Throwable e) {
    if (e instanceof CommandFailure || e instanceof IOException) {
      System.err.println("perigee: " + message(e));
      return e instanceof CommandFailure expected ? expected.exitCode() : 1;
    }
    if (e instanceof OutOfMemoryError || e.getCause() instanceof OutOfMemoryError) {
      System.err.println(
          "perigee: out of memory (at most %d MB for this program); use a smaller model or input, or give it more with JAVA_TOOL_OPTIONS=-Xmx…"
              .formatted(Runtime.getRuntime().maxMemory() >> 20));
      return 1;
    }
    StringWriter trace = new StringWriter();
    e.printStackTrace(new PrintWriter(trace));
    try {
      Path log = Files.createTempFile("perigee-error-", ".log");
      Files.writeString(log, trace.toString());
      System.err.println("perigee: " + e + " (a defect of Perigee; details in " + log + ")");
    } catch (IOException unwritable) {
      System.err.println("perigee: " + e + "\n" + trace);
    }
    return 1;
  }

  /** Some exceptions of the file system carry the file's name alone. */
  private static String message(Throwable e) {
    return switch (e) {
      case NoSuchFileException f when f.getReason() == null -> f.getFile() + " does not exist";
      case AccessDeniedException f when f.getReason() == null ->
          f.getFile() + ": permission denied";
      case NotDirectoryException f -> f.getFile() + " is not a folder";
      case FileAlreadyExistsException f when f.getReason() == null ->
          f.getFile() + " is there already, and is no folder";
      default -> e.getMessage();
    };
  }

  /** The checkout that this runs from. */
  static Path home() {
    return Path.of(System.getProperty("perigee.home", ".")).toAbsolutePath().normalize();
  }

  /** Standard output, in UTF-8 whatever the locale. */
  static PrintWriter out() {
    return new PrintWriter(System.out, true, StandardCharsets.UTF_8);
  }
}
