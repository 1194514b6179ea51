package dev.perigee.engine.data;

import static java.nio.charset.StandardCharsets.UTF_16BE;
import static java.nio.charset.StandardCharsets.UTF_16LE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.run.ExitCode;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TextFilesTest {
  @TempDir Path folder;

  @Test
  void aFolderIsReadInTheOrderOfItsNames() throws Exception {
    write("b.txt", "second");
    write("a.jsonl", "{\"title\": \"one\", \"text\": \"first\"}\n\n{\"text\": \"é\"}\n");
    write("c.md", "left out");
    assertThat(documents(folder)).containsExactly("first", "é", "second");
  }

  @Test
  void aLineWithoutLineFeedAtTheEndCounts() throws Exception {
    write("a.jsonl", "{\"text\": \"one\"}\n{\"text\": \"two\"}");
    assertThat(documents(folder.resolve("a.jsonl"))).containsExactly("one", "two");
  }

  @Test
  void aMissingPathIsNamed() {
    fails(folder.resolve("none.txt"), ExitCode.BAD_CONFIG, "data source books: there is no file");
  }

  @Test
  void anEmptyFileIsNamed() throws IOException {
    fails(write("a.jsonl", ""), ExitCode.BAD_CONFIG, "a.jsonl is empty");
  }

  @Test
  void aFileOfEmptyLinesHasNoText() throws IOException {
    fails(write("a.jsonl", "\n\n"), ExitCode.BAD_CONFIG, "has no text in it");
  }

  @Test
  void anotherKindOfFileIsRefused() throws IOException {
    fails(write("a.csv", "x"), ExitCode.BAD_CONFIG, "neither .jsonl nor .txt");
  }

  @Test
  void aFolderWithoutTextFilesIsRefused() throws IOException {
    write("a.csv", "x");
    fails(folder, ExitCode.BAD_CONFIG, "holds no .jsonl and no .txt file");
  }

  @Test
  void aLineThatIsNotJsonIsNamedByItsNumber() throws IOException {
    Path file = write("a.jsonl", "{\"text\": \"ok\"}\n{\"text\": oops}\n");
    fails(file, ExitCode.CORRUPT_DATA, "a.jsonl line 2: not JSON");
  }

  @Test
  void twoObjectsOnALineAreNotJsonLines() throws IOException {
    Path file = write("a.jsonl", "{\"text\": \"a\"} {\"text\": \"b\"}\n");
    fails(file, ExitCode.CORRUPT_DATA, "a.jsonl line 1: not JSON");
  }

  @Test
  void aLineWithoutTextIsNamedByItsNumber() throws IOException {
    Path file = write("a.jsonl", "{\"text\": \"ok\"}\n\n{\"body\": \"x\"}\n");
    fails(file, ExitCode.CORRUPT_DATA, "a.jsonl line 3: expected an object with a string in text");
  }

  @Test
  void bytesThatAreNotUtf8AreNamedByTheirLine() throws IOException {
    Path file = folder.resolve("a.txt");
    Files.write(file, new byte[] {'o', 'k', '\n', (byte) 0xff, '\n'});
    fails(file, ExitCode.CORRUPT_DATA, "a.txt line 2: not UTF-8");
    Path lines = folder.resolve("a.jsonl");
    Files.write(lines, "{\"text\": \"\u00e9\"}".getBytes(StandardCharsets.ISO_8859_1));
    fails(lines, ExitCode.CORRUPT_DATA, "a.jsonl line 1: not UTF-8");
  }

  @Test
  void aByteOrderMarkIsNoText() throws Exception {
    assertThat(documents(write("a.txt", "\ufeffone"))).containsExactly("one");
    assertThat(documents(write("a.jsonl", "\ufeff{\"text\": \"two\"}\r\n"))).containsExactly("two");
    fails(write("b.txt", "\ufeff"), ExitCode.BAD_CONFIG, "b.txt is empty");
  }

  @Test
  void aDocumentMayBeAWholeLibrary() throws Exception {
    String text = "x".repeat(20_100_000); // beyond what a JSON reader takes for a string by default
    Path file = write("a.jsonl", "{\"text\": \"" + text + "\"}");
    assertThat(documents(file)).containsExactly(text);
  }

  @Test
  void halfACharacterIsNotLearntAsAQuestionMark() throws Exception {
    fails(
        write("a.jsonl", "{\"text\": \"\\ud83d!\"}"),
        ExitCode.CORRUPT_DATA,
        "a.jsonl line 1: half a surrogate pair");
    assertThat(documents(write("b.jsonl", "{\"text\": \"\\ud83d\\ude00\"}"))).containsExactly("😀");
  }

  @Test
  void dataInAnotherFormIsNotLeftOutOfAFolderInSilence() throws IOException {
    write("a.txt", "one");
    Path other = write("b.jsonl.gz", "x");
    fails(folder, ExitCode.BAD_CONFIG, other + " is neither .jsonl nor .txt; convert it, or move");
  }

  @Test
  void aTextInUtf16IsCalledThat() throws IOException {
    for (String name : new String[] {"a.txt", "a.jsonl"}) {
      Path file = Files.write(folder.resolve(name), "\ufeffCall me".getBytes(UTF_16LE));
      fails(file, ExitCode.CORRUPT_DATA, name + " is UTF-16; convert the file: iconv -f UTF-16");
      Files.write(file, "\ufeffCall me".getBytes(UTF_16BE));
      fails(file, ExitCode.CORRUPT_DATA, name + " is UTF-16");
    }
  }

  /** Every byte below 128 is UTF-8, and so is all of UTF-16 that is English. */
  @Test
  void aNulByteIsNotLearnt() throws IOException {
    Path file = Files.write(folder.resolve("a.txt"), "Call\nme".getBytes(UTF_16LE));
    fails(file, ExitCode.CORRUPT_DATA, "a.txt line 1: a NUL byte");
    fails(write("b.txt", "Call me\nIsh\0mael"), ExitCode.CORRUPT_DATA, "b.txt line 2: a NUL byte");
  }

  @Test
  void whatIsNoFileIsNotCalledBadlyNamed() throws Exception {
    Path pipe = folder.resolve("a.txt");
    assumeTrue(new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor() == 0);
    fails(pipe, ExitCode.BAD_CONFIG, "a.txt is a pipe or a device; write its text to a file");
    write("b.txt", "text");
    fails(folder, ExitCode.BAD_CONFIG, "a.txt is no file, or a link to none; move it");
  }

  @Test
  void aLinkToNothingIsNotLeftOutOfAFolderInSilence() throws IOException {
    write("a.txt", "text");
    Files.createSymbolicLink(folder.resolve("b.jsonl"), Path.of("gone.jsonl"));
    fails(folder, ExitCode.BAD_CONFIG, "b.jsonl is no file, or a link to none; move it");
  }

  @Test
  void foldersInAFolderAreNotReadAndThatIsSaid() throws Exception {
    Path inner = Files.createDirectories(folder.resolve("inner"));
    Files.createDirectories(folder.resolve("..data"));
    Files.writeString(inner.resolve("a.txt"), "text");
    fails(folder, ExitCode.BAD_CONFIG, "no .txt file; folders in it are not read: name one");
    write("b.txt", "more");
    assertThat(documents(folder)).containsExactly("more");
    assertThat(TextFiles.foldersIn(folder)).isEqualTo(1);
    assertThat(TextFiles.foldersIn(folder.resolve("b.txt"))).isZero();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"text\": \"a\"              | the line ends in the middle of it",
        "[                           | the line ends in the middle of it",
        "{\"text\": \"a\"} {}          | more than one value on the line",
        "{\"text\": \"a\", \"n\": NaN}  | Non-standard token 'NaN'",
        "{\"text\": \"a\"} x           | Unrecognized token 'x'",
        "{\"text\": \"a\", \"text\":\"\"}| Duplicate field 'text'",
      })
  void aLineThatIsNotJsonIsExplainedInPlainWords(String line, String fault) throws IOException {
    fails(
        write("a.jsonl", line),
        ExitCode.CORRUPT_DATA,
        "a.jsonl line 1: not JSON: " + fault + "; expected {\"text\": \"...\"} on each line");
  }

  @Test
  void nestingWithoutEndIsExplainedInPlainWords() throws IOException {
    fails(
        write("a.jsonl", "{\"text\": \"a\", \"m\": " + "[".repeat(5000)),
        ExitCode.CORRUPT_DATA,
        "Document nesting depth (1001) exceeds the maximum allowed (1000); expected");
  }

  @Test
  void aFileLargerThanAnArrayIsNamed() throws IOException {
    Path file = folder.resolve("a.txt");
    try (var sparse = new RandomAccessFile(file.toFile(), "rw")) {
      sparse.setLength(1L << 31);
    }
    fails(file, ExitCode.BAD_CONFIG, "a.txt has 2147483648 bytes; expected at most 2147483639");
  }

  @Test
  void linesMayFillAFileOfAnySize() throws IOException {
    Path file = write("a.jsonl", "{\"text\": \"a\"}\n{\"text\": oops}\n");
    try (var sparse = new RandomAccessFile(file.toFile(), "rw")) {
      sparse.setLength(5L << 30);
    }
    fails(file, ExitCode.CORRUPT_DATA, "a.jsonl line 2: not JSON: Unrecognized token 'oops'");
  }

  /** Lines end in every place of what is read in one go. */
  @Test
  void linesOfAllLengthsAreReadWhole() throws Exception {
    List<String> texts = new ArrayList<>();
    StringBuilder lines = new StringBuilder();
    for (int n : new int[] {1 << 20, 3, (1 << 20) - 14, 1, 3 << 20, (1 << 16) - 13, 70_000, 2}) {
      texts.add("é".repeat(n / 2) + "x".repeat(n % 2));
      lines.append("{\"text\": \"").append(texts.getLast()).append("\"}\n");
    }
    Path file = write("a.jsonl", lines.toString());
    assertThat(documents(file)).isEqualTo(texts);
    Path same = Files.writeString(folder.resolve("b.txt"), lines.toString());
    assertThat(TextFiles.read("books", file).fingerprint().digest())
        .isEqualTo(TextFiles.read("books", same).fingerprint().digest());
    Path open = write("c.jsonl", lines.substring(0, lines.length() - 1));
    assertThat(documents(open)).isEqualTo(texts);
  }

  @Test
  void theFingerprintIsThatOfTheFilesAndNotOfTheirPlace() throws Exception {
    write("a.txt", "one");
    write("b.txt", "two");
    Fingerprint here = TextFiles.read("books", folder).fingerprint();
    assertThat(here.part()).isEqualTo("data source books");
    assertThat(here.files()).isEqualTo(2);
    assertThat(here.bytes()).isEqualTo(6);
    Path copy = Files.createDirectory(folder.resolve("copy"));
    Files.writeString(copy.resolve("a.txt"), "one");
    Files.writeString(copy.resolve("c.txt"), "two");
    assertThat(TextFiles.read("books", copy).fingerprint().digest()).isEqualTo(here.digest());
  }

  @Test
  void oneByteAndTheEndOfAFileChangeTheFingerprint() throws Exception {
    write("a.txt", "one");
    write("b.txt", "two");
    Fingerprint first = TextFiles.read("books", folder).fingerprint();
    write("b.txt", "twO");
    Fingerprint otherByte = TextFiles.read("books", folder).fingerprint();
    write("a.txt", "onetw");
    write("b.txt", "o");
    Fingerprint otherEnd = TextFiles.read("books", folder).fingerprint();
    assertThat(Set.of(first.digest(), otherByte.digest(), otherEnd.digest())).hasSize(3);
    assertThat(List.of(otherByte.bytes(), otherEnd.bytes())).containsOnly(first.bytes());
    assertThat((long) (double) first.digest()).isEqualTo(first.digest());
  }

  private static List<String> documents(Path path) throws DataException {
    return TextFiles.read("books", path).documents();
  }

  private Path write(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }

  private static void fails(Path path, ExitCode exit, String message) {
    assertThatThrownBy(() -> TextFiles.read("books", path))
        .hasMessageContaining(message)
        .hasMessageNotContaining("\n")
        .asInstanceOf(InstanceOfAssertFactories.type(DataException.class))
        .returns(exit, DataException::exitCode);
  }
}
