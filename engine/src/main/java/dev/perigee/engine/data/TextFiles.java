package dev.perigee.engine.data;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.io.JsonEOFException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.exc.MismatchedInputException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * Reads documents from a {@code .jsonl} file (one object a line, its text in {@code text}; other
 * keys are left alone), a {@code .txt} file (one document), or a folder of such files in the order
 * of their names. UTF-8 is checked strictly, since a wrong byte would be learnt; a byte order mark
 * is no text. Other files of a folder are left alone, but not those that are likely to be data;
 * folders in it are not read.
 */
final class TextFiles {
  private static final ObjectMapper JSON =
      new ObjectMapper(
              JsonFactory.builder()
                  .streamReadConstraints(
                      StreamReadConstraints.builder() // a document may be a whole book
                          .maxStringLength(Integer.MAX_VALUE)
                          .build())
                  .build())
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION);

  private static final List<String> OTHER_DATA =
      List.of(".gz", ".zst", ".xz", ".bz2", ".zip", ".parquet", ".arrow", ".json");
  private static final int PART = 1 << 20; // bytes that are read in one go
  private static final int LARGEST = Integer.MAX_VALUE - 8; // an array's length

  private TextFiles() {}

  /**
   * What was read.
   *
   * @param documents their texts, none empty
   * @param fingerprint of the files
   */
  record Texts(List<String> documents, Fingerprint fingerprint) {}

  /**
   * Reads all documents.
   *
   * @param name of the source, for messages
   * @throws DataException naming the file and the line
   */
  static Texts read(String name, Path path) throws DataException {
    String part = "data source " + name;
    String at = part + ": ";
    List<String> documents = new ArrayList<>();
    Fingerprint.Taker fingerprint = new Fingerprint.Taker();
    try {
      for (Path file : files(at, path)) {
        readFile(at, file, documents, fingerprint);
      }
    } catch (IOException e) {
      throw DataException.unreadable(at + "cannot read " + path + ": " + e, e);
    }
    if (documents.isEmpty()) {
      throw DataException.misplaced(at + path + " has no text in it; expected at least one line");
    }
    return new Texts(documents, fingerprint.of(part, path));
  }

  private static List<Path> files(String at, Path path) throws DataException, IOException {
    if (!Files.exists(path)) {
      throw DataException.misplaced(
          at + "there is no file or folder " + path + "; check the path and the volume");
    }
    if (!Files.isDirectory(path)) {
      if (!Files.isRegularFile(path)) {
        throw DataException.misplaced(
            at
                + path
                + " is a pipe or a device; write its text to a file, which can be read twice");
      }
      if (!isText(path)) {
        throw DataException.misplaced(
            at + path + " is neither .jsonl nor .txt; rename or convert it");
      }
      return List.of(path);
    }
    try (Stream<Path> listed = Files.list(path)) {
      List<Path> entries = listed.sorted().toList();
      for (Path entry : entries) {
        if (OTHER_DATA.stream().anyMatch(lowerCaseName(entry)::endsWith)) {
          throw DataException.misplaced(
              at + entry + " is neither .jsonl nor .txt; convert it, or move it out of the folder");
        }
        if (isNamedText(entry) && !Files.isRegularFile(entry) && !Files.isDirectory(entry)) {
          throw DataException.misplaced(
              at + entry + " is no file, or a link to none; move it out of the folder");
        }
      }
      List<Path> files = entries.stream().filter(TextFiles::isText).toList();
      if (files.isEmpty()) {
        throw DataException.misplaced(
            at
                + "folder "
                + path
                + " holds no .jsonl and no .txt file"
                + (entries.stream().anyMatch(Files::isDirectory)
                    ? "; folders in it are not read: name one of them"
                    : ""));
      }
      return files;
    }
  }

  /** How many folders in a folder are not read, 0 for a file. */
  static long foldersIn(Path path) throws DataException {
    if (!Files.isDirectory(path)) {
      return 0;
    }
    try (Stream<Path> entries = Files.list(path)) {
      return entries
          .filter(entry -> Files.isDirectory(entry) && !lowerCaseName(entry).startsWith("."))
          .count();
    } catch (IOException e) {
      throw DataException.unreadable("cannot read " + path + ": " + e, e);
    }
  }

  private static boolean isText(Path file) {
    return Files.isRegularFile(file) && isNamedText(file);
  }

  private static boolean isNamedText(Path file) {
    String name = lowerCaseName(file);
    return name.endsWith(".jsonl") || name.endsWith(".txt");
  }

  private static String lowerCaseName(Path file) {
    return file.getFileName().toString().toLowerCase(Locale.ROOT);
  }

  private static void readFile(
      String at, Path file, List<String> documents, Fingerprint.Taker fingerprint)
      throws DataException, IOException {
    long size = Files.size(file);
    if (lowerCaseName(file).endsWith(".txt")) {
      readText(at, file, size, documents, fingerprint);
    } else {
      readLines(at, file, size, documents, fingerprint);
    }
  }

  private static void readText(
      String at, Path file, long size, List<String> documents, Fingerprint.Taker fingerprint)
      throws DataException, IOException {
    if (size > LARGEST) {
      throw DataException.misplaced(
          at + file + " has " + size + " bytes; expected at most " + LARGEST + ": split it");
    }
    byte[] bytes = Files.readAllBytes(file);
    checkSize(at, file, size, bytes.length);
    fingerprint.file(bytes);
    int start = start(at, file, bytes, bytes.length);
    checkUtf8(at, file, bytes);
    String text = new String(bytes, start, bytes.length - start, StandardCharsets.UTF_8);
    if (!text.isBlank()) {
      documents.add(text);
    }
  }

  /** Reads a file of any size, of which no more than one line is in memory at a time. */
  private static void readLines(
      String at, Path file, long size, List<String> documents, Fingerprint.Taker fingerprint)
      throws DataException, IOException {
    fingerprint.file(size);
    byte[] part = new byte[PART];
    byte[] line = new byte[PART];
    int length = 0;
    int number = 1;
    long read = 0;
    try (InputStream in = Files.newInputStream(file)) {
      for (int n = in.readNBytes(part, 0, PART);
          n > 0 || read == 0;
          n = in.readNBytes(part, 0, PART)) {
        int from = read == 0 ? start(at, file, part, n) : 0;
        fingerprint.part(part, n);
        read += n;
        while (from < n) {
          int to = from;
          while (to < n && part[to] != '\n') {
            to++;
          }
          line = withRoom(at + file + " line " + number, line, length, to - from);
          System.arraycopy(part, from, line, length, to - from);
          length += to - from;
          if (to < n) {
            add(at, file, number, ByteBuffer.wrap(line, 0, length), documents);
            number++;
            length = 0;
          }
          from = to + 1;
        }
      }
    }
    checkSize(at, file, size, read);
    add(at, file, number, ByteBuffer.wrap(line, 0, length), documents);
  }

  private static void add(String at, Path file, int number, ByteBuffer line, List<String> documents)
      throws DataException {
    String text = text(at + file + " line " + number + ": ", line);
    if (!text.isEmpty()) {
      documents.add(text);
    }
  }

  /** The same array, or a larger one with what is in it. */
  private static byte[] withRoom(String at, byte[] line, int length, int more)
      throws DataException {
    long needed = (long) length + more;
    if (needed <= line.length) {
      return line;
    }
    if (needed > LARGEST) {
      throw DataException.misplaced(
          at + " has more than " + LARGEST + " bytes; split the document");
    }
    return Arrays.copyOf(line, (int) Math.min(LARGEST, Math.max(needed, 2L * line.length)));
  }

  /** Pods that read it earlier and later would train on different data. */
  private static void checkSize(String at, Path file, long size, long read) throws DataException {
    if (read != size) {
      throw DataException.damaged(
          "%s%s had %d bytes and then %d; do not write to it while a job reads it"
              .formatted(at, file, size, read));
    }
  }

  /** Where the text begins in a file of which the first {@code count} bytes are given. */
  private static int start(String at, Path file, byte[] bytes, int count) throws DataException {
    if (isUtf16(bytes, count)) {
      throw DataException.damaged(
          at + file + " is UTF-16; convert the file: iconv -f UTF-16 -t UTF-8");
    }
    int start = hasByteOrderMark(bytes, count) ? 3 : 0;
    if (count == start) {
      throw DataException.misplaced(at + file + " is empty; expected text");
    }
    return start;
  }

  /** The text of one line of JSON, empty for an empty line. */
  private static String text(String at, ByteBuffer line) throws DataException {
    String decoded;
    try {
      decoded = decode(line);
    } catch (CharacterCodingException e) {
      throw DataException.damaged(at + "not UTF-8; convert the file, for example with iconv");
    }
    if (decoded.isBlank()) {
      return "";
    }
    JsonNode node;
    try {
      node = JSON.readTree(decoded);
    } catch (JsonProcessingException e) {
      throw DataException.damaged(
          at + "not JSON: " + fault(e) + "; expected {\"text\": \"...\"} on each line");
    }
    if (!node.isObject() || !node.path("text").isTextual()) {
      throw DataException.damaged(
          at + "expected an object with a string in text, found " + abbreviate(node));
    }
    String text = node.get("text").textValue();
    if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
      throw DataException.damaged(
          at + "half a surrogate pair (\\ud800 to \\udfff) in text; write the character whole");
    }
    return text;
  }

  /** What is wrong with a line, without the parser's names for its own parts. */
  private static String fault(JsonProcessingException e) {
    return switch (e) {
      case JsonEOFException _ -> "the line ends in the middle of it";
      case MismatchedInputException _ -> "more than one value on the line";
      case StreamConstraintsException _ -> e.getOriginalMessage().replaceFirst(", from .*", ")");
      default -> e.getOriginalMessage().replaceFirst(": (enable `|was expecting).*", "");
    };
  }

  private static String abbreviate(JsonNode node) {
    String text = node.toString();
    return text.length() <= 60 ? text : text.substring(0, 60) + "…";
  }

  /** What some editors put before UTF-8. */
  private static boolean hasByteOrderMark(byte[] bytes, int count) {
    return count >= 3
        && bytes[0] == (byte) 0xef
        && bytes[1] == (byte) 0xbb
        && bytes[2] == (byte) 0xbf;
  }

  private static boolean isUtf16(byte[] bytes, int count) {
    return count >= 2
        && ((bytes[0] == (byte) 0xff && bytes[1] == (byte) 0xfe)
            || (bytes[0] == (byte) 0xfe && bytes[1] == (byte) 0xff));
  }

  private static void checkUtf8(String at, Path file, byte[] bytes) throws DataException {
    int line = 1;
    for (int from = 0; from < bytes.length; line++) {
      int to = from;
      while (to < bytes.length && bytes[to] != '\n') {
        if (bytes[to] == 0) {
          throw DataException.damaged(
              at
                  + file
                  + " line "
                  + line
                  + ": a NUL byte, which text has none of; convert the file from UTF-16, or leave it out");
        }
        to++;
      }
      try {
        decode(ByteBuffer.wrap(bytes, from, to - from));
      } catch (CharacterCodingException e) {
        throw DataException.damaged(
            at + file + " line " + line + ": not UTF-8; convert the file, for example with iconv");
      }
      from = to + 1;
    }
  }

  private static String decode(ByteBuffer bytes) throws CharacterCodingException {
    return StandardCharsets.UTF_8
        .newDecoder()
        .onMalformedInput(CodingErrorAction.REPORT)
        .onUnmappableCharacter(CodingErrorAction.REPORT)
        .decode(bytes)
        .toString();
  }
}
