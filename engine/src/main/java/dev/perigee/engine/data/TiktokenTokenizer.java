package dev.perigee.engine.data;

import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.GptBytePairEncodingParams;
import com.knuddels.jtokkit.api.IntArrayList;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Base64;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * Byte-pair encoding by a tiktoken ranks file (lines of base64 token, space, rank), with the split
 * pattern of the Kimi family. Begin and end are the first two ids after the ranks, as in Kimi's
 * tokenizer ([BOS] and [EOS]).
 */
public final class TiktokenTokenizer implements Tokenizer {
  /**
   * Kimi's split pattern in Java's spelling: {@code \p{Han}} is {@code \p{IsHan}}, and {@code \s}
   * means Unicode's white space.
   */
  static final Pattern SPLIT =
      Pattern.compile(
          String.join(
              "|",
              "[\\p{IsHan}]+",
              "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{IsHan}]]*"
                  + "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{IsHan}]]+"
                  + "(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
              "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{IsHan}]]+"
                  + "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{IsHan}]]*"
                  + "(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
              "\\p{N}{1,3}",
              " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
              "\\s*[\\r\\n]+",
              "\\s+(?!\\S)",
              "\\s+"),
          Pattern.UNICODE_CHARACTER_CLASS);

  private final Encoding encoding;
  private final int ranks;
  private final Fingerprint fingerprint;

  private TiktokenTokenizer(Encoding encoding, int ranks, Fingerprint fingerprint) {
    this.encoding = encoding;
    this.ranks = ranks;
    this.fingerprint = fingerprint;
  }

  /**
   * Reads a ranks file.
   *
   * @throws DataException when it is missing, or a line is not a base64 token and its rank, or the
   *     ranks do not count from 0 without gaps, or a byte is no token, or a token is there twice
   */
  public static TiktokenTokenizer read(Path file) throws DataException {
    if (Files.isDirectory(file)) {
      throw DataException.misplaced(
          "tokenizer.path: " + file + " is a folder; expected a tiktoken ranks file");
    }
    List<String> lines;
    Fingerprint.Taker fingerprint = new Fingerprint.Taker();
    try {
      byte[] content = Files.readAllBytes(file);
      fingerprint.file(content);
      lines =
          StandardCharsets.UTF_8
              .newDecoder()
              .decode(ByteBuffer.wrap(content))
              .toString()
              .lines()
              .toList();
    } catch (NoSuchFileException e) {
      throw DataException.misplaced(
          "tokenizer.path: there is no file " + file + "; expected a tiktoken ranks file");
    } catch (CharacterCodingException e) {
      throw DataException.damaged("tokenizer.path: " + file + " is not a text of ranks");
    } catch (IOException e) {
      throw DataException.unreadable("tokenizer.path: cannot read " + file + ": " + e, e);
    }
    IdentityHashMap<byte[], Integer> byToken = new IdentityHashMap<>();
    Set<ByteBuffer> tokens = new HashSet<>();
    boolean[] seen = new boolean[lines.size()];
    int last = lines.size();
    while (last > 0 && lines.get(last - 1).isBlank()) {
      last--;
    }
    for (int i = 0; i < last; i++) {
      String at = "tokenizer.path: " + file + " line " + (i + 1) + ": ";
      String[] parts = lines.get(i).split(" ", -1);
      byte[] token;
      int rank;
      try {
        token = Base64.getDecoder().decode(parts[0]);
        rank = Integer.parseInt(parts[1]);
      } catch (IllegalArgumentException | ArrayIndexOutOfBoundsException e) {
        throw DataException.damaged(
            at
                + "expected a base64 token, a space and its rank"
                + (parts[0].startsWith("{") ? ", as in a tiktoken file, not JSON" : ""));
      }
      if (rank < 0 || rank >= last || seen[rank] || token.length == 0) {
        throw DataException.damaged(
            at + "rank " + rank + "; expected each of 0 to " + (last - 1) + " once");
      }
      seen[rank] = true;
      if (!tokens.add(ByteBuffer.wrap(token))) {
        throw DataException.damaged(at + "the token " + parts[0] + " is there twice");
      }
      byToken.put(token, rank);
    }
    if (last < 256) {
      throw DataException.damaged(
          "tokenizer.path: " + file + " has " + last + " ranks; expected at least the 256 bytes");
    }
    for (int b = 0; b < 256; b++) {
      if (!tokens.contains(ByteBuffer.wrap(new byte[] {(byte) b}))) {
        throw DataException.damaged(
            "tokenizer.path: %s has no token for byte %d; expected each of the 256 bytes"
                .formatted(file, b));
      }
    }
    String name = "kimi";
    Encoding encoding =
        Encodings.newLazyEncodingRegistry()
            .registerGptBytePairEncoding(
                new GptBytePairEncodingParams(name, SPLIT, byToken, Map.of()))
            .getEncoding(name)
            .orElseThrow();
    return new TiktokenTokenizer(encoding, last, fingerprint.of("tokenizer.path", file));
  }

  @Override
  public int vocabSize() {
    return ranks + 2;
  }

  @Override
  public int begin() {
    return ranks;
  }

  @Override
  public int end() {
    return ranks + 1;
  }

  @Override
  public Optional<Fingerprint> fingerprint() {
    return Optional.of(fingerprint);
  }

  @Override
  public int[] encode(String text) {
    return encoding.encodeOrdinary(text).toArray();
  }

  @Override
  public String decode(int[] ids) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int id : ids) {
      if (id >= 0 && id < ranks) {
        IntArrayList one = new IntArrayList(1);
        one.add(id);
        bytes.writeBytes(encoding.decodeBytes(one));
      }
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }
}
