package dev.perigee.engine.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TokenizerTest {
  private static final String TEXT = "Call me Ishmael. 12345 鲸鱼 don't\n\n  naïve 😀 end";

  @TempDir Path folder;

  @Test
  void bytesComeBackAsTheSameText() {
    Tokenizer bytes = new ByteTokenizer();
    assertThat(bytes.encode("aé")).containsExactly('a', 0xc3, 0xa9);
    assertThat(bytes.decode(bytes.encode(TEXT))).isEqualTo(TEXT);
    assertThat(bytes.decode(new int[] {bytes.begin(), 'x', bytes.end()})).isEqualTo("x");
  }

  @Test
  void ranksMergeTheLowestFirst() throws Exception {
    Tokenizer tokenizer = TiktokenTokenizer.read(ranks("he", "ll", "hell", "hello", " hello"));
    assertThat(tokenizer.encode("hello hello")).containsExactly(259, 260);
    assertThat(tokenizer.encode("hellx")).containsExactly(258, 'x');
    assertThat(tokenizer.begin()).isEqualTo(261);
    assertThat(tokenizer.vocabSize()).isEqualTo(263);
  }

  @Test
  void ranksComeBackAsTheSameTextEvenWhenATokenIsHalfACharacter() throws Exception {
    Tokenizer tokenizer = TiktokenTokenizer.read(ranks("th", "en", "end"));
    assertThat(tokenizer.decode(tokenizer.encode(TEXT))).isEqualTo(TEXT);
    assertThat(tokenizer.decode(new int[] {tokenizer.begin(), 'x'})).isEqualTo("x");
  }

  @Test
  void textIsSplitAsTheKimiFamilyDoes() {
    List<String> pieces = new ArrayList<>();
    Matcher m = TiktokenTokenizer.SPLIT.matcher(TEXT);
    while (m.find()) {
      pieces.add(m.group());
    }
    assertThat(pieces)
        .containsExactly(
            "Call",
            " me",
            " Ishmael",
            ".",
            " ",
            "123",
            "45",
            " ",
            "鲸鱼",
            " don't",
            "\n\n",
            " ",
            " naïve",
            " 😀",
            " end");
  }

  @Test
  void theFingerprintIsOfTheRanksFileIfThereIsOne() throws Exception {
    Fingerprint one = TiktokenTokenizer.read(ranks("th", "en")).fingerprint().orElseThrow();
    Fingerprint other = TiktokenTokenizer.read(ranks("th", "er")).fingerprint().orElseThrow();
    assertThat(one.part()).isEqualTo("tokenizer.path");
    assertThat(one.bytes()).isEqualTo(other.bytes());
    assertThat(one.digest()).isNotEqualTo(other.digest());
    assertThat(new ByteTokenizer().fingerprint()).isEmpty();
  }

  @Test
  void aLineThatIsNoRankIsNamed() throws Exception {
    Path file = ranks();
    Files.writeString(file, Files.readString(file) + "???\n");
    assertThatThrownBy(() -> TiktokenTokenizer.read(file))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("line 257: expected a base64 token");
    assertThatThrownBy(() -> TiktokenTokenizer.read(folder.resolve("none")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("tokenizer.path: there is no file");
  }

  @Test
  void ranksThatCannotSpellEveryTextAreRefused() throws Exception {
    Path file = ranks("th");
    String whole = Files.readString(file);
    Files.writeString(file, whole.replace(line(new byte[] {65}, 65), line(new byte[] {1, 2}, 65)));
    refused(file, "has no token for byte 65");
    Files.writeString(file, whole + line(new byte[] {65}, 257));
    refused(file, "line 258: the token QQ== is there twice");
    Files.writeString(file, "{\n  \"version\": \"1.0\"\n}\n");
    refused(file, "line 1: expected a base64 token, a space and its rank, as in a tiktoken file");
    refused(folder, "is a folder; expected a tiktoken ranks file");
  }

  private static void refused(Path file, String fault) {
    assertThatThrownBy(() -> TiktokenTokenizer.read(file))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("tokenizer.path: " + file)
        .hasMessageContaining(fault);
  }

  /** A ranks file of the 256 bytes and the given tokens. */
  private Path ranks(String... tokens) throws Exception {
    StringBuilder lines = new StringBuilder();
    for (int b = 0; b < 256; b++) {
      lines.append(line(new byte[] {(byte) b}, b));
    }
    for (int i = 0; i < tokens.length; i++) {
      lines.append(line(tokens[i].getBytes(StandardCharsets.UTF_8), 256 + i));
    }
    return Files.writeString(folder.resolve("ranks"), lines);
  }

  private static String line(byte[] token, int rank) {
    return Base64.getEncoder().encodeToString(token) + " " + rank + "\n";
  }
}
