package dev.perigee.engine.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.tensor.Tensor;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsTest {
  @TempDir Path folder;

  @Test
  void whatIsWrittenIsReadBackBitForBit() throws IOException {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    tensors.put("b", Tensor.of(new float[] {1, -0.0f, Float.MIN_VALUE, 3e38f, 5, 6}, 2, 3));
    tensors.put("a", Tensor.of(new float[] {9, 7, 8, 9}, 4).slice(1, 2));
    tensors.put("empty", Tensor.zeros(0, 5));
    Path file = folder.resolve("x.safetensors");
    SafetensorsWriter.write(file, tensors, Map.of("step", "12"));
    Safetensors read = Safetensors.open(file);
    assertThat(read.names()).containsExactly("a", "b", "empty");
    assertThat(read.metadata()).containsEntry("step", "12");
    assertThat(read.shape("b")).containsExactly(2, 3);
    assertThat(read.read("b").floats()).containsExactly(1, -0.0f, Float.MIN_VALUE, 3e38f, 5, 6);
    assertThat(read.read("a").floats()).containsExactly(7, 8);
    assertThat(read.shape("empty")).containsExactly(0, 5);
  }

  @Test
  void theSameTensorsGiveTheSameBytes() throws IOException {
    Map<String, Tensor> tensors = Map.of("a", Tensor.of(new float[] {1, 2}, 2));
    ByteArrayOutputStream one = new ByteArrayOutputStream();
    ByteArrayOutputStream two = new ByteArrayOutputStream();
    SafetensorsWriter.write(one, tensors, Map.of("k", "v"));
    SafetensorsWriter.write(two, tensors, Map.of("k", "v"));
    assertThat(one.toByteArray()).isEqualTo(two.toByteArray());
  }

  /** As a checkpoint that another process writes anew does to who reads it. */
  @Test
  void aFileThatIsReplacedWhileItIsReadIsReadAsItWas() throws Exception {
    int numbers = 4 << 20;
    for (int value = 0; value < 2; value++) {
      float[] same = new float[numbers];
      Arrays.fill(same, value);
      SafetensorsWriter.write(
          folder.resolve("of" + value), Map.of("x", Tensor.of(same, numbers)), Map.of());
    }
    Path file = Files.copy(folder.resolve("of0"), folder.resolve("x.safetensors"));
    AtomicBoolean done = new AtomicBoolean();
    Thread writer =
        Thread.ofPlatform()
            .start(
                () -> {
                  for (int i = 0; !done.get(); i++) {
                    try {
                      Path next = folder.resolve("next");
                      Files.createLink(next, folder.resolve("of" + i % 2));
                      Files.move(next, file, StandardCopyOption.ATOMIC_MOVE);
                    } catch (IOException e) {
                      throw new UncheckedIOException(e);
                    }
                  }
                });
    try {
      Safetensors read = Safetensors.open(file);
      for (int i = 0; i < 10; i++) {
        float[] x = read.read("x").floats();
        float[] whole = new float[numbers];
        Arrays.fill(whole, x[0]);
        assertThat(Arrays.mismatch(x, whole)).as("the first number of another file").isEqualTo(-1);
      }
    } finally {
      done.set(true);
      writer.join();
    }
  }

  @Test
  void tensorsLargerThanTheReadBufferArriveWhole() throws IOException {
    float[] many = new float[700_001];
    for (int i = 0; i < many.length; i++) {
      many[i] = i;
    }
    Path file = folder.resolve("large.safetensors");
    SafetensorsWriter.write(file, Map.of("x", Tensor.of(many, many.length)), Map.of());
    assertThat(Safetensors.open(file).read("x").floats()).isEqualTo(many);
  }

  @Test
  void halvesAndBrainFloatsAreReadAsSingles() throws IOException {
    ByteBuffer data = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    data.putShort((short) 0x3fc0).putShort((short) 0xc040); // BF16 1.5, -3
    data.putShort((short) 0x3e00).putShort((short) 0xc200); // F16 1.5, -3
    Path file =
        raw(
            """
            {"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},
             "h":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}""",
            data.array());
    Safetensors read = Safetensors.open(file);
    assertThat(read.dtype("b")).isEqualTo(Safetensors.DType.BF16);
    assertThat(read.read("b").floats()).containsExactly(1.5f, -3);
    assertThat(read.read("h").floats()).containsExactly(1.5f, -3);
  }

  @Test
  void metadataThatIsNoObjectIsRefused() throws IOException {
    Path file = raw("{\"__metadata__\":[\"pt\"]}", new byte[0]);
    assertThatThrownBy(() -> Safetensors.open(file))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessage(file + ": __metadata__: expected an object of texts");
  }

  @Test
  void wholeNumbersAreReadAsSuchAndNotAsFloats() throws IOException {
    Path file = folder.resolve("ids.safetensors");
    SafetensorsWriter.writeWhole(file, "ids", new long[] {1, -2, 1L << 40, 4}, 2, 2);
    Safetensors read = Safetensors.open(file);
    assertThat(read.readWhole("ids")).containsExactly(1, -2, 1L << 40, 4);
    assertThatThrownBy(() -> read.read("ids"))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessage(file + ": tensor ids is I64; expected F32, BF16 or F16");
  }

  @Test
  void shardsAreOneCheckpoint() throws IOException {
    SafetensorsWriter.write(
        folder.resolve("model-00001-of-00002.safetensors"),
        Map.of("a", Tensor.of(new float[] {1}, 1)),
        Map.of());
    SafetensorsWriter.write(
        folder.resolve("model-00002-of-00002.safetensors"),
        Map.of("b", Tensor.of(new float[] {2}, 1)),
        Map.of());
    ByteArrayOutputStream index = new ByteArrayOutputStream();
    SafetensorsWriter.writeIndex(
        index,
        Map.of("a", "model-00001-of-00002.safetensors", "b", "model-00002-of-00002.safetensors"),
        8);
    Files.write(folder.resolve(Safetensors.INDEX), index.toByteArray());
    Safetensors read = Safetensors.open(folder);
    assertThat(read.read("a").floats()).containsExactly(1);
    assertThat(read.read("b").floats()).containsExactly(2);

    Files.delete(folder.resolve("model-00002-of-00002.safetensors"));
    assertThatThrownBy(() -> Safetensors.open(folder))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("names model-00002-of-00002.safetensors, which is not there");
  }

  @ParameterizedTest
  @ValueSource(strings = {"../a.safetensors", "/a.safetensors", "..", ".", "", "a\\u0000b"})
  void anIndexThatPointsOutOfTheFolderIsRefused(String shard) throws IOException {
    Files.writeString(
        folder.resolve(Safetensors.INDEX), "{\"weight_map\":{\"a\":\"" + shard + "\"}}");
    assertThatThrownBy(() -> Safetensors.open(folder))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("weight_map.a: expected the name of a file beside it");
  }

  @Test
  void anIndexThatNamesWhatNoFileCanBeCalledIsRefused() throws IOException {
    Files.writeString(
        folder.resolve(Safetensors.INDEX), "{\"weight_map\":{\"a\":\"\\ud800.safetensors\"}}");
    assertThatThrownBy(() -> Safetensors.open(folder))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("which can be no file's name here");
  }

  @Test
  void anIndexMayNotPromiseWhatAShardDoesNotHold() throws IOException {
    SafetensorsWriter.write(
        folder.resolve("s.safetensors"), Map.of("a", Tensor.zeros(1)), Map.of());
    Files.writeString(
        folder.resolve(Safetensors.INDEX), "{\"weight_map\":{\"b\":\"s.safetensors\"}}");
    assertThatThrownBy(() -> Safetensors.open(folder))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("holds no b, which the index puts there");
  }

  @Test
  void anEmptyFolderSaysWhatACheckpointHolds() {
    assertThatThrownBy(() -> Safetensors.open(folder))
        .isInstanceOf(NoSuchFileException.class)
        .hasMessageContaining("a checkpoint folder holds model.safetensors or");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          {"a"                                                          | header is not JSON
          []                                                            | header is not a JSON object
          {"a":1}                                                       | tensor a: expected dtype, shape and two data_offsets
          {"a":{"dtype":"F8","shape":[2],"data_offsets":[0,8]}}         | tensor a: dtype F8; expected one of [BF16, F16, F32, I32, I64]
          {"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}       | tensor a: dimension -2 of shape [-2]
          {"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,8]}}      | tensor a: dimension 1.5 of shape [1.5]
          {"a":{"dtype":"F32","shape":[65536,65536],"data_offsets":[0,8]}} | more than 2^31 - 1 elements
          {"a":{"dtype":"F32","shape":[2],"data_offsets":["x",8]}}      | tensor a: data_offsets ["x",8]
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}}      | tensor a: data_offsets [0,8.5]; expected whole numbers
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.0]}}      | tensor a: data_offsets [0,8.0]; expected whole numbers
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,1e30]}}     | tensor a: data_offsets [0,1.0E30]; expected whole numbers
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,99999999999999999999]}} | tensor a: data_offsets [0,99999999999999999999]; expected whole numbers
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}       | data_offsets [-8,0] are not inside the 8 bytes of data
          {"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}       | data_offsets [0,12] are not inside the 8 bytes of data
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}        | data_offsets [8,0] are not inside the 8 bytes of data
          {"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}        | tensor a: 8 bytes; shape [1] of F32 takes 4
          {"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}        | tensors take 4 of 8 bytes after the header
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}} | tensors a and b overlap
          {"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} | tensors a and b overlap
          {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{}} | header is not JSON: Duplicate field 'a'
          """)
  void aMalformedHeaderIsRefusedWithItsFault(String header, String fault) throws IOException {
    Path file = raw(header, new byte[8]);
    assertThatThrownBy(() -> Safetensors.open(file))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageStartingWith(file + ": ")
        .hasMessageContaining(fault);
  }

  @ParameterizedTest
  @ValueSource(strings = {"UTF-16LE", "UTF-16BE", "UTF-16", "UTF-32"})
  void aHeaderInAnotherEncodingThanTheFormatsIsRefused(String charset) throws IOException {
    String header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    Path file = raw(header.getBytes(Charset.forName(charset)), new byte[8]);
    assertThatThrownBy(() -> Safetensors.open(file))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageMatching("(?s)\\Q" + file + "\\E: header is not (JSON|UTF-8).*");
  }

  @Test
  void aHeaderLengthThatCannotBeIsRefusedWithoutAllocatingIt() throws IOException {
    Path file = folder.resolve("x.safetensors");
    Files.write(
        file, ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN).putLong(1L << 60).array());
    assertThatThrownBy(() -> Safetensors.open(file))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("header length 1152921504606846976");
  }

  @Test
  void everyTruncationOfAFileIsNoticed() throws IOException {
    Path whole = folder.resolve("whole.safetensors");
    SafetensorsWriter.write(whole, Map.of("a", Tensor.of(new float[] {1, 2, 3}, 3)), Map.of());
    byte[] bytes = Files.readAllBytes(whole);
    Path cut = folder.resolve("cut.safetensors");
    for (int n = 0; n < bytes.length; n++) {
      Files.write(cut, Arrays.copyOf(bytes, n));
      assertThatThrownBy(() -> Safetensors.open(cut))
          .as("%d of %d bytes", n, bytes.length)
          .isInstanceOf(CheckpointFormatException.class);
    }
  }

  @Test
  void aFlippedBitInTheHeaderIsReadOrRefusedButNothingElse() throws IOException {
    Path whole = folder.resolve("whole.safetensors");
    SafetensorsWriter.write(whole, Map.of("a", Tensor.of(new float[] {1, 2, 3}, 3)), Map.of());
    byte[] bytes = Files.readAllBytes(whole);
    SplittableRandom random = new SplittableRandom(1);
    Path flipped = folder.resolve("flipped.safetensors");
    for (int i = 0; i < 300; i++) {
      byte[] copy = bytes.clone();
      copy[random.nextInt(bytes.length - 12)] ^= (byte) (1 << random.nextInt(8));
      Files.write(flipped, copy);
      try {
        Safetensors read = Safetensors.open(flipped);
        for (String name : read.names()) {
          if (read.dtype(name) == Safetensors.DType.F32) {
            read.read(name);
          }
        }
      } catch (CheckpointFormatException expected) {
        assertThat(expected).hasMessageStartingWith(flipped + ": ");
      }
    }
  }

  private Path raw(String header, byte[] data) throws IOException {
    return raw(header.getBytes(StandardCharsets.UTF_8), data);
  }

  private Path raw(byte[] text, byte[] data) throws IOException {
    ByteBuffer file =
        ByteBuffer.allocate(8 + text.length + data.length).order(ByteOrder.LITTLE_ENDIAN);
    file.putLong(text.length).put(text).put(data);
    return Files.write(folder.resolve("raw.safetensors"), file.array());
  }
}
