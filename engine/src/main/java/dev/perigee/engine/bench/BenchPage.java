package dev.perigee.engine.bench;

import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A page with figures of a benchmark. The figures are between two lines, which are comments in
 * Markdown; a benchmark writes what is between them anew, and what people wrote around them stays.
 */
public final class BenchPage {
  /** The line before the figures. */
  static final String BEGIN = "<!-- measured: a benchmark writes this part anew -->";

  /** The line after them. */
  static final String END = "<!-- end of what was measured -->";

  private BenchPage() {}

  /**
   * Looks whether a page can be written, before something is measured for long.
   *
   * @param file that is absent, empty or has the two lines
   * @throws IOException when it may not be written, or has a text that would be lost; the message
   *     is a line for a person
   */
  public static void check(Path file) throws IOException {
    Path folder = file.toAbsolutePath().getParent();
    if (folder == null || Files.isDirectory(file)) {
      throw new IOException(file + " is a folder; expected a file to write");
    }
    if (!Files.isDirectory(folder)) {
      throw new IOException("there is no folder " + folder + " for " + file.getFileName());
    }
    if (!Files.isWritable(Files.exists(file) ? file : folder)) {
      throw new IOException(file + " may not be written");
    }
    around(file);
  }

  /**
   * Writes the figures into a page.
   *
   * @param measured the figures, Markdown
   * @throws IOException as {@link #check} does, or when the disk does not take it
   */
  static void write(Path file, String measured) throws IOException {
    Around kept = around(file);
    Files.writeString(
        file, kept.before + BEGIN + "\n" + measured.strip() + "\n" + END + "\n" + kept.after);
  }

  /** What people wrote before and after the figures. */
  private record Around(String before, String after) {}

  private static Around around(Path file) throws IOException {
    String text;
    try {
      text = Files.exists(file) ? Files.readString(file) : "";
    } catch (CharacterCodingException e) {
      throw new IOException(file + " is not UTF-8 text, and would be lost; name another file", e);
    }
    if (text.isBlank()) {
      return new Around("", "");
    }
    int begin = text.indexOf(BEGIN + "\n");
    int end = text.indexOf(END, Math.max(0, begin));
    if (begin < 0 || end < 0) {
      throw new IOException(
          "%s has text that would be lost; put the figures' place into it as two lines, %s and %s, or name another file"
              .formatted(file, BEGIN, END));
    }
    int rest = end + END.length();
    return new Around(
        text.substring(0, begin), text.substring(text.startsWith("\n", rest) ? rest + 1 : rest));
  }
}
