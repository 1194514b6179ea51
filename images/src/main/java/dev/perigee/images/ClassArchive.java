package dev.perigee.images;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Classes in the form in which the JVM holds them in memory (class data sharing), which saves
 * reading and checking them at each start.
 *
 * <p>Which classes stands in a resource, {@code <image>.classes}: those that the program had loaded
 * when it was ready, as OperatorImageIT records them. A recording at each build would make every
 * image differ. A class of the list that is gone is skipped, and one that it lacks is read as ever.
 */
final class ClassArchive {
  private ClassArchive() {}

  /**
   * Writes the archive for a staged image. It holds the jars' paths, so the same bits come out only
   * for the same folder.
   *
   * @param staged the image, with its runtime and its jars
   * @param jars the class path, in its order
   * @param archive the file to write
   */
  static void write(StagedImage staged, List<Path> jars, Path archive)
      throws IOException, ImageException {
    Path list = staged.folder().resolve("classes");
    Path log = staged.folder().resolve("classes.log");
    try (InputStream in =
        ClassArchive.class.getResourceAsStream(staged.contents().name() + ".classes")) {
      Files.copy(in, list);
      List<String> command = new ArrayList<>();
      command.add(staged.folder().resolve("runtime/bin/java").toString());
      command.addAll(staged.contents().jvmOptions()); // some, such as the collector, must agree
      command.addAll(
          List.of(
              "-Xshare:dump",
              // Classes with optional dependencies cannot be archived; there are many.
              "-Xlog:disable",
              "-Xlog:all=error:stderr",
              "-XX:SharedClassListFile=" + list,
              "-XX:SharedArchiveFile=" + archive,
              "-cp",
              jars.stream().map(Path::toString).collect(Collectors.joining(":"))));
      Process process =
          new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(log.toFile())
              .start();
      int code = process.waitFor();
      if (code != 0 || !Files.exists(archive)) {
        throw new ImageException(
            "the archive of classes cannot be written, exit code "
                + code
                + ": "
                + Files.readString(log).strip());
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ImageException("interrupted", e);
    } finally {
      Files.deleteIfExists(list);
      Files.deleteIfExists(log);
    }
  }
}
