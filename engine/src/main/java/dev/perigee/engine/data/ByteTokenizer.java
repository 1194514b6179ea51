package dev.perigee.engine.data;

import java.nio.charset.StandardCharsets;
import java.util.Optional;

/** Every byte of the UTF-8 text is a token: ids 0 to 255, 256 begins and 257 ends a document. */
public record ByteTokenizer() implements Tokenizer {
  private static final int BEGIN = 256;
  private static final int END = 257;

  @Override
  public int vocabSize() {
    return 258;
  }

  @Override
  public int begin() {
    return BEGIN;
  }

  @Override
  public int end() {
    return END;
  }

  @Override
  public Optional<Fingerprint> fingerprint() {
    return Optional.empty();
  }

  @Override
  public int[] encode(String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    int[] ids = new int[bytes.length];
    for (int i = 0; i < bytes.length; i++) {
      ids[i] = bytes[i] & 0xff;
    }
    return ids;
  }

  @Override
  public String decode(int[] ids) {
    byte[] bytes = new byte[ids.length];
    int n = 0;
    for (int id : ids) {
      if (id >= 0 && id < BEGIN) {
        bytes[n++] = (byte) id;
      }
    }
    return new String(bytes, 0, n, StandardCharsets.UTF_8);
  }
}
