package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.engine.tensor.Tensor;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;

/**
 * Writes float32 and I64 tensors in the safetensors format. The same tensors give the same bytes:
 * entries are in the order of the map, and data follows in that order without gaps.
 */
public final class SafetensorsWriter {
  private static final ObjectMapper JSON = new ObjectMapper();

  private SafetensorsWriter() {}

  /** Writes one file with the given tensors and text; the caller syncs and renames. */
  public static void write(Path file, Map<String, Tensor> tensors, Map<String, String> metadata)
      throws IOException {
    try (OutputStream out = Files.newOutputStream(file)) {
      write(out, tensors, metadata);
    }
  }

  /** Writes one file's bytes to a stream, which stays open. */
  public static void write(
      OutputStream out, Map<String, Tensor> tensors, Map<String, String> metadata)
      throws IOException {
    ObjectNode header = header(metadata);
    long at = 0;
    for (Map.Entry<String, Tensor> named : tensors.entrySet()) {
      Tensor x = named.getValue();
      at = describe(header, named.getKey(), "F32", x.shape(), at, 4L * x.size());
    }
    writeHeader(out, header);
    ByteBuffer chunk = ByteBuffer.allocate(1 << 18).order(ByteOrder.LITTLE_ENDIAN);
    for (Tensor tensor : tensors.values()) {
      Tensor x = tensor.onHost();
      float[] values = x.floats();
      int end = x.offset() + x.size();
      for (int i = x.offset(); i < end; ) {
        int n = Math.min(end - i, chunk.capacity() / 4);
        chunk.asFloatBuffer().put(values, i, n);
        out.write(chunk.array(), 0, 4 * n);
        i += n;
      }
    }
    out.flush();
  }

  /** Writes one file with one tensor of whole numbers. */
  public static void writeWhole(Path file, String name, long[] values, int... shape)
      throws IOException {
    long n = Arrays.stream(shape).asLongStream().reduce(1, (a, b) -> a * b);
    if (n != values.length) {
      throw new IllegalArgumentException(
          values.length + " numbers for a shape of " + Arrays.toString(shape));
    }
    ObjectNode header = header(Map.of());
    describe(header, name, "I64", shape, 0, 8L * values.length);
    try (OutputStream out = Files.newOutputStream(file)) {
      writeHeader(out, header);
      ByteBuffer data = ByteBuffer.allocate(8 * values.length).order(ByteOrder.LITTLE_ENDIAN);
      data.asLongBuffer().put(values);
      out.write(data.array());
    }
  }

  /**
   * Writes the index beside the shards of a checkpoint.
   *
   * @param shardOf file name by tensor name
   * @param totalBytes bytes of all tensors' numbers
   */
  public static void writeIndex(OutputStream out, Map<String, String> shardOf, long totalBytes)
      throws IOException {
    ObjectNode root = JSON.createObjectNode();
    root.putObject("metadata").put("total_size", totalBytes);
    ObjectNode map = root.putObject("weight_map");
    new TreeMap<>(shardOf).forEach(map::put);
    out.write(JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(root));
    out.flush();
  }

  private static ObjectNode header(Map<String, String> metadata) {
    ObjectNode header = JSON.createObjectNode();
    ObjectNode text = header.putObject("__metadata__").put("format", "pt"); // transformers asks
    new TreeMap<>(metadata).forEach(text::put);
    return header;
  }

  private static long describe(
      ObjectNode header, String name, String dtype, int[] shape, long at, long bytes) {
    ObjectNode entry = header.putObject(name).put("dtype", dtype);
    for (int d : shape) {
      entry.withArray("shape").add(d);
    }
    if (shape.length == 0) {
      entry.putArray("shape");
    }
    entry.putArray("data_offsets").add(at).add(at + bytes);
    return at + bytes;
  }

  private static void writeHeader(OutputStream out, ObjectNode header) throws IOException {
    byte[] text = JSON.writeValueAsString(header).getBytes(StandardCharsets.UTF_8);
    int padded = (text.length + 7) / 8 * 8; // data starts on a multiple of eight bytes
    ByteBuffer head = ByteBuffer.allocate(8 + padded).order(ByteOrder.LITTLE_ENDIAN);
    head.putLong(padded).put(text);
    while (head.hasRemaining()) {
      head.put((byte) ' ');
    }
    out.write(head.array());
  }
}
