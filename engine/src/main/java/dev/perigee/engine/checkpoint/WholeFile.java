package dev.perigee.engine.checkpoint;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Small files that readers find as they were or as they are now, and never half-written. */
public final class WholeFile {
  private WholeFile() {}

  /**
   * Writes beside the file and renames: a program that is killed in between has written nothing.
   */
  public static void write(Path file, byte[] content) throws IOException {
    Path fresh = file.resolveSibling(file.getFileName() + ".partial");
    Files.write(fresh, content);
    Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE);
  }
}
