package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.cli.cluster.api.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ManifestsTest {
  @TempDir Path folder;

  private Path file(String content) throws IOException {
    return Files.writeString(folder.resolve("m.yaml"), content);
  }

  @Test
  void readsEveryDocumentOfAFile() throws IOException {
    Path file =
        file(
            """
            # a comment
            ---
            {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
            ---
            apiVersion: v1
            kind: ConfigMap
            metadata: {name: b}
            ---
            """);

    assertThat(Manifests.read(List.of(file)))
        .extracting(d -> Json.text(d.object(), "metadata", "name"))
        .containsExactly("a", "b");
  }

  @Test
  void namesTheFileAndLineOfWhatIsNotYaml() throws IOException {
    Path file = file("apiVersion: v1\nkind: [\n");

    assertThatThrownBy(() -> Manifests.read(List.of(file)))
        .isInstanceOf(CommandFailure.class)
        .hasMessageContaining("m.yaml, line ")
        .hasMessageContaining("not YAML");
  }

  @Test
  void aFileInAnotherEncodingIsSaidToBeNoUtf8() throws IOException {
    Path file = Files.write(folder.resolve("m.yaml"), new byte[] {'#', ' ', (byte) 0xe4, '\n'});

    assertThatThrownBy(() -> Manifests.read(List.of(file)))
        .isInstanceOf(CommandFailure.class)
        .hasMessageEndingWith("m.yaml is not UTF-8; expected a manifest, YAML or JSON");
  }

  @Test
  void namesTheDocumentThatIsNoManifest() throws IOException {
    Path file = file("apiVersion: v1\nkind: ConfigMap\n---\nname: x\n");

    assertThatThrownBy(() -> Manifests.read(List.of(file)))
        .hasMessageContaining("m.yaml, document 2: not a manifest; expected apiVersion and kind");
  }

  @Test
  void readsAnchorsAndMergesAsKubectlDoes() throws IOException {
    Path file =
        file(
            """
            apiVersion: v1
            kind: ConfigMap
            metadata: &m {name: a, labels: {x: z}}
            copy: *m
            merged: {<<: *m, name: b}
            """);

    JsonNode read = Manifests.read(List.of(file)).getFirst().object();

    assertThat(read.get("copy")).isEqualTo(read.get("metadata"));
    assertThat(read.get("merged").toString())
        .isEqualTo("{\"name\":\"b\",\"labels\":{\"x\":\"z\"}}");
  }

  @Test
  void wholeNumbersMayBeWrittenAsFractionsAsWithKubectl() throws IOException {
    Path file = file("{apiVersion: v1, kind: ConfigMap, steps: 1e3, data: 4.0, rate: 5e-4}");

    assertThat(Manifests.read(List.of(file)).getFirst().object().toString())
        .endsWith("\"steps\":1000,\"data\":4,\"rate\":5.0E-4}");
  }

  /** What kubectl label --local -o json says of the same text. */
  @Test
  void readsPlainWordsAndNumbersAsKubectlDoes() throws IOException {
    Path file =
        file(
            """
            apiVersion: v1
            kind: ConfigMap
            words: [yes, Off, y, N, "yes", nothing, ~, !!bool on]
            integers: [1_000_000, 010, 08, 0o17, 0x1F, -0b101, +5, 0, 00, "010", 2024-01-02, _1, 1:30]
            fractions: [12_3.5, 1_0e1, .5, 0.5_5]
            """);

    JsonNode read = Manifests.read(List.of(file)).getFirst().object();

    assertThat(read.get("words").toString())
        .isEqualTo("[true,false,true,false,\"yes\",\"nothing\",null,true]");
    assertThat(read.get("integers").toString())
        .isEqualTo("[1000000,8,8,15,31,-5,5,0,0,\"010\",\"2024-01-02\",\"_1\",\"1:30\"]");
    assertThat(read.get("fractions").toString()).isEqualTo("[123.5,100,0.5,0.55]");
  }

  @Test
  void refusesAFileThatIsNoManifestForItsSize() throws IOException {
    Path file = file("a: \"" + "x".repeat(4 << 20) + "\"");

    assertThatThrownBy(() -> Manifests.read(List.of(file)))
        .isInstanceOf(CommandFailure.class)
        .hasMessageContaining("m.yaml has more than 3145728 bytes");
  }

  @Test
  void readsTheItemsOfAList() throws IOException {
    Path file =
        file(
            """
            apiVersion: v1
            kind: List
            items:
            - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
            - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}
            """);

    List<Manifests.Document> documents = Manifests.read(List.of(file));

    assertThat(documents)
        .extracting(d -> Json.text(d.object(), "metadata", "name"))
        .containsExactly("a", "b");
    assertThat(documents.getLast().where()).endsWith("m.yaml, document 1, item 2");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          kind: a;kind: b          | m.yaml, line 2: not YAML: found duplicate key kind
          a: &a [*a]               | m.yaml, document 1: nested without end
          a: !!java.net.URL [x]    | m.yaml, line 1: not YAML: could not determine
          kind: a;TABb: c          | m.yaml, line 2: not YAML: found character
          apiVersion: v1;kind: List | m.yaml, document 1: a List without items
          a: .nan                  | m.yaml, document 1: NaN; expected a number that JSON has
          7                        | m.yaml, document 1: not a manifest
          """)
  void refusesWhatWouldBeReadAmiss(String text, String fault) throws IOException {
    Path file = file(text.replace(';', '\n').replace("TAB", "\t"));

    assertThatThrownBy(() -> Manifests.read(List.of(file)))
        .isInstanceOf(CommandFailure.class)
        .hasMessageContaining(fault);
  }

  @Test
  void refusesBracketsWithoutEnd() throws IOException {
    Path file = file("[".repeat(100_000));

    assertThatThrownBy(() -> Manifests.read(List.of(file)))
        .isInstanceOf(CommandFailure.class)
        .hasMessageContaining("m.yaml, document 1: nested without end, or too deeply");
  }

  @Test
  void refusesAMissingAndAnEmptyFile() throws IOException {
    Path empty = file("# nothing\n");

    assertThatThrownBy(() -> Manifests.read(List.of(folder.resolve("none.yaml"))))
        .hasMessageContaining("none.yaml is not a file");
    assertThatThrownBy(() -> Manifests.read(List.of(empty)))
        .hasMessageContaining("holds no manifest");
  }

  @Test
  void putsAFileOfThisMachineInPlaceOfTheFirstVolume() throws IOException {
    Path manifest =
        file(
            """
            apiVersion: perigee.dev/v1alpha1
            kind: PretrainJob
            metadata: {name: j}
            spec:
              data:
              - {name: gen, builtin: arithmetic}
              - {name: text, path: x, volume: {persistentVolumeClaim: {claimName: c}}}
            """);
    Path data = Files.writeString(folder.resolve("book.jsonl"), "{}");
    List<Manifests.Document> documents = Manifests.read(List.of(manifest));

    Manifests.overrideData(documents, data);

    assertThat(Json.at(documents.getFirst().object(), "spec", "data").get(1).toString())
        .isEqualTo(
            "{\"name\":\"text\",\"path\":\"book.jsonl\",\"volume\":{\"hostPath\":{\"path\":\""
                + folder.toAbsolutePath()
                + "\"}}}");
    assertThatThrownBy(() -> Manifests.overrideData(documents, folder.resolve("gone")))
        .hasMessageContaining("does not exist");
  }
}
