package dev.perigee.engine.checkpoint;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.tensor.Tensor;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Reads tensors by name from one safetensors file, or from a folder that holds {@code
 * model.safetensors} or shards with {@code model.safetensors.index.json}.
 *
 * <p>A file is eight bytes of header length (little-endian), a JSON header that gives each tensor's
 * dtype, shape and byte range, and the bytes. Opening reads and checks every header; numbers are
 * read when asked for. Every departure from the format is a {@link CheckpointFormatException}.
 */
public final class Safetensors {
  /** The file of a checkpoint in one piece. */
  public static final String SINGLE = "model.safetensors";

  /** The file that names the shard of each tensor. */
  public static final String INDEX = "model.safetensors.index.json";

  private static final long MAX_HEADER = 100_000_000; // as the reference implementation
  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  /** Number formats that can be read. */
  public enum DType {
    /** IEEE single precision. */
    F32(4),
    /** The upper half of a single. */
    BF16(2),
    /** IEEE half precision. */
    F16(2),
    /** Signed 64-bit whole numbers. */
    I64(8),
    /** Signed 32-bit whole numbers. */
    I32(4);

    private final int bytes;

    DType(int bytes) {
      this.bytes = bytes;
    }

    /** Bytes of one number. */
    public int bytes() {
      return bytes;
    }
  }

  @SuppressWarnings("ArrayRecordComponent") // never compared
  private record Entry(Path file, DType dtype, int[] shape, long position, long bytes) {}

  private final Path path;
  private final Map<String, Entry> entries;
  private final Map<String, String> metadata;

  private Safetensors(Path path, Map<String, Entry> entries, Map<String, String> metadata) {
    this.path = path;
    this.entries = Collections.unmodifiableMap(entries);
    this.metadata = Collections.unmodifiableMap(metadata);
  }

  /**
   * Opens a file, or the file or shards in a folder.
   *
   * @throws NoSuchFileException when there is none
   * @throws CheckpointFormatException when a header is not as the format says
   */
  public static Safetensors open(Path path) throws IOException {
    if (!Files.isDirectory(path)) {
      Map<String, Entry> entries = new TreeMap<>();
      Map<String, String> metadata = new LinkedHashMap<>();
      readHeader(path, entries, metadata);
      return new Safetensors(path, entries, metadata);
    }
    if (Files.exists(path.resolve(INDEX))) {
      return openSharded(path);
    }
    if (Files.exists(path.resolve(SINGLE))) {
      return open(path.resolve(SINGLE));
    }
    throw new NoSuchFileException(
        path.toString(), null, "a checkpoint folder holds " + SINGLE + " or " + INDEX);
  }

  /** The file or folder that this was opened from. */
  public Path path() {
    return path;
  }

  /** Names of all tensors, sorted. */
  public Set<String> names() {
    return entries.keySet();
  }

  /** Whether there is a tensor of that name. */
  public boolean contains(String name) {
    return entries.containsKey(name);
  }

  /** The text that the writer put beside the tensors, empty when none. */
  public Map<String, String> metadata() {
    return metadata;
  }

  /** A tensor's shape. */
  public int[] shape(String name) {
    return entry(name).shape.clone();
  }

  /** A tensor's number format in the file. */
  public DType dtype(String name) {
    return entry(name).dtype;
  }

  /**
   * Reads a tensor of F32, BF16 or F16 as float32.
   *
   * @throws CheckpointFormatException when it holds whole numbers
   */
  public Tensor read(String name) throws IOException {
    Tensor x = Tensor.zeros(entry(name).shape);
    read(name, x);
    return x;
  }

  /**
   * Reads a tensor of F32, BF16 or F16 into one of the same shape.
   *
   * @throws CheckpointFormatException when the shapes differ or it holds whole numbers
   */
  public void read(String name, Tensor into) throws IOException {
    into.assign(onHost(name, into));
  }

  /**
   * Reads weights into a tensor of the same shape. One that is NaN or infinite would make a whole
   * model's answers NaN, so it is refused where its name is known.
   *
   * @throws CheckpointFormatException as {@link #read}, and when a number is not finite
   */
  public void readFinite(String name, Tensor into) throws IOException {
    Tensor host = onHost(name, into);
    float[] x = host.floats();
    int offset = host.offset();
    for (int i = 0; i < into.size(); i++) {
      if (!Float.isFinite(x[offset + i])) {
        throw new CheckpointFormatException(
            entry(name).file,
            "tensor %s: number %d is %s; expected finite ones".formatted(name, i, x[offset + i]));
      }
    }
    into.assign(host);
  }

  /** A tensor's numbers in memory of the host, laid out as another's. */
  private Tensor onHost(String name, Tensor into) throws IOException {
    Entry e = entry(name);
    if (!Arrays.equals(e.shape, into.shape())) {
      throw new CheckpointFormatException(
          e.file,
          "tensor %s has shape %s; expected %s"
              .formatted(name, Arrays.toString(e.shape), Arrays.toString(into.shape())));
    }
    Tensor host = into.onHost();
    float[] x = host.floats();
    int at = host.offset();
    try (ChunkReader chunks = new ChunkReader(e)) {
      while (chunks.next()) {
        ByteBuffer b = chunks.buffer;
        int n = b.remaining() / e.dtype.bytes;
        switch (e.dtype) {
          case F32 -> b.asFloatBuffer().get(x, at, n);
          case BF16 -> {
            for (int i = 0; i < n; i++) {
              x[at + i] = Float.intBitsToFloat(b.getShort() << 16);
            }
          }
          case F16 -> {
            for (int i = 0; i < n; i++) {
              x[at + i] = Float.float16ToFloat(b.getShort());
            }
          }
          case I64, I32 ->
              throw new CheckpointFormatException(
                  e.file, "tensor " + name + " is " + e.dtype + "; expected F32, BF16 or F16");
        }
        at += n;
      }
    }
    return host;
  }

  /**
   * Reads a tensor of I64 or I32.
   *
   * @throws CheckpointFormatException when it holds floating-point numbers
   */
  public long[] readWhole(String name) throws IOException {
    Entry e = entry(name);
    if (e.dtype != DType.I64 && e.dtype != DType.I32) {
      throw new CheckpointFormatException(
          e.file, "tensor " + name + " is " + e.dtype + "; expected I64 or I32");
    }
    long[] x = new long[(int) (e.bytes / e.dtype.bytes)];
    int at = 0;
    try (ChunkReader chunks = new ChunkReader(e)) {
      while (chunks.next()) {
        ByteBuffer b = chunks.buffer;
        while (b.hasRemaining()) {
          x[at++] = e.dtype == DType.I64 ? b.getLong() : b.getInt();
        }
      }
    }
    return x;
  }

  private Entry entry(String name) {
    Entry e = entries.get(name);
    if (e == null) {
      throw new NoSuchElementException(path + " holds no tensor " + name);
    }
    return e;
  }

  /** Walks through a tensor's bytes in pieces that end on whole numbers. */
  private static final class ChunkReader implements AutoCloseable {
    private final Entry entry;
    private final ByteBuffer buffer;
    private final FileChannel channel;
    private long done;

    ChunkReader(Entry entry) throws IOException {
      this.entry = entry;
      this.buffer =
          ByteBuffer.allocate((int) Math.min(Math.max(entry.bytes, 1), 1 << 20))
              .order(ByteOrder.LITTLE_ENDIAN);
      this.channel = FileChannel.open(entry.file, StandardOpenOption.READ);
    }

    boolean next() throws IOException {
      long left = entry.bytes - done;
      if (left == 0) {
        return false;
      }
      buffer.clear().limit((int) Math.min(left, buffer.capacity()));
      try {
        readFully(channel, buffer, entry.position + done);
      } catch (EOFException gone) {
        throw new CheckpointFormatException(entry.file, "became shorter while it was read", gone);
      }
      buffer.flip();
      done += buffer.limit();
      return true;
    }

    @Override
    public void close() throws IOException {
      channel.close();
    }
  }

  private static void readFully(FileChannel channel, ByteBuffer into, long position)
      throws IOException {
    long at = position;
    while (into.hasRemaining()) {
      int n = channel.read(into, at);
      if (n < 0) {
        throw new EOFException();
      }
      at += n;
    }
  }

  private static Safetensors openSharded(Path folder) throws IOException {
    Path index = folder.resolve(INDEX);
    JsonNode map = parse(index, "", Files.readAllBytes(index)).get("weight_map");
    if (map == null || !map.isObject()) {
      throw new CheckpointFormatException(index, "expected an object weight_map");
    }
    Map<String, Map<String, Entry>> shards = new TreeMap<>();
    Map<String, String> metadata = new LinkedHashMap<>();
    Map<String, Entry> entries = new TreeMap<>();
    for (Map.Entry<String, JsonNode> named : map.properties()) {
      String shard = named.getValue().isTextual() ? named.getValue().textValue() : "";
      if (!isFileName(shard)) {
        throw new CheckpointFormatException(
            index, "weight_map." + named.getKey() + ": expected the name of a file beside it");
      }
      Map<String, Entry> held = shards.get(shard);
      if (held == null) {
        held = new TreeMap<>();
        Path file = beside(index, shard);
        if (!Files.isRegularFile(file)) {
          throw new CheckpointFormatException(index, "names " + shard + ", which is not there");
        }
        readHeader(file, held, metadata);
        shards.put(shard, held);
      }
      Entry e = held.get(named.getKey());
      if (e == null) {
        throw new CheckpointFormatException(
            folder.resolve(shard), "holds no " + named.getKey() + ", which the index puts there");
      }
      entries.put(named.getKey(), e);
    }
    return new Safetensors(folder, entries, metadata);
  }

  private static Path beside(Path index, String shard) throws CheckpointFormatException {
    try {
      return index.resolveSibling(shard);
    } catch (InvalidPathException e) { // half a surrogate pair, or a locale without the letter
      throw new CheckpointFormatException(
          index, "names " + shard + ", which can be no file's name here: " + e.getReason(), e);
    }
  }

  /** Whether a text names a file of the same folder. */
  private static boolean isFileName(String text) {
    return !text.isEmpty()
        && !text.equals(".")
        && !text.equals("..")
        && text.chars().noneMatch(c -> c == '/' || c == '\\' || c < ' ');
  }

  private static void readHeader(
      Path file, Map<String, Entry> entries, Map<String, String> metadata) throws IOException {
    JsonNode header;
    long dataAt;
    long dataBytes;
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      long size = channel.size();
      if (size < 8) {
        throw new CheckpointFormatException(
            file, size + " bytes; a safetensors file starts with 8 bytes of header length");
      }
      ByteBuffer length = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
      readFully(channel, length, 0);
      long n = length.flip().getLong();
      if (n < 2 || n > MAX_HEADER) {
        throw new CheckpointFormatException(
            file, "header length " + n + "; expected 2 to " + MAX_HEADER + " bytes");
      }
      if (8 + n > size) {
        throw new CheckpointFormatException(
            file, "header of " + n + " bytes is cut off: the file has " + size + " bytes");
      }
      ByteBuffer text = ByteBuffer.allocate((int) n);
      readFully(channel, text, 8);
      header = parse(file, "header ", text.array());
      dataAt = 8 + n;
      dataBytes = size - dataAt;
    }
    Map<Long, String> byStart = new TreeMap<>();
    long covered = 0;
    for (Map.Entry<String, JsonNode> named : header.properties()) {
      if (named.getKey().equals("__metadata__")) {
        if (!named.getValue().isObject()) {
          throw new CheckpointFormatException(file, "__metadata__: expected an object of texts");
        }
        named.getValue().properties().forEach(m -> metadata.put(m.getKey(), m.getValue().asText()));
        continue;
      }
      Entry e = entry(file, named.getKey(), named.getValue(), dataAt, dataBytes);
      entries.put(named.getKey(), e);
      covered += e.bytes;
      if (e.bytes > 0) {
        String other = byStart.put(e.position, named.getKey());
        if (other != null) {
          throw overlap(file, other, named.getKey());
        }
      }
    }
    long end = dataAt;
    String before = null;
    for (Map.Entry<Long, String> start : byStart.entrySet()) {
      if (start.getKey() < end) {
        throw overlap(file, before, start.getValue());
      }
      before = start.getValue();
      end = start.getKey() + entries.get(before).bytes;
    }
    if (covered != dataBytes) {
      throw new CheckpointFormatException(
          file, "tensors take %d of %d bytes after the header".formatted(covered, dataBytes));
    }
  }

  private static CheckpointFormatException overlap(Path file, String one, String other) {
    return new CheckpointFormatException(file, "tensors " + one + " and " + other + " overlap");
  }

  private static Entry entry(Path file, String name, JsonNode node, long dataAt, long dataBytes)
      throws CheckpointFormatException {
    String at = "tensor " + name + ": ";
    JsonNode shapeNode = node.path("shape");
    JsonNode offsets = node.path("data_offsets");
    if (!node.path("dtype").isTextual()
        || !shapeNode.isArray()
        || !offsets.isArray()
        || offsets.size() != 2) {
      throw new CheckpointFormatException(file, at + "expected dtype, shape and two data_offsets");
    }
    DType dtype;
    try {
      dtype = DType.valueOf(node.get("dtype").textValue());
    } catch (IllegalArgumentException unknown) {
      throw new CheckpointFormatException(
          file,
          at + "dtype " + node.get("dtype").textValue() + "; expected one of " + dtypes(),
          unknown);
    }
    int[] shape = new int[shapeNode.size()];
    long count = 1;
    for (int i = 0; i < shape.length; i++) {
      JsonNode d = shapeNode.get(i);
      if (!d.canConvertToInt() || !d.isIntegralNumber() || d.intValue() < 0) {
        throw new CheckpointFormatException(
            file, at + "dimension " + d + " of shape " + shapeNode + "; expected a whole number");
      }
      shape[i] = d.intValue();
      if (shape[i] != 0 && count > Integer.MAX_VALUE / shape[i]) {
        throw new CheckpointFormatException(
            file, at + "shape " + shapeNode + " has more than 2^31 - 1 elements");
      }
      count *= shape[i];
    }
    for (JsonNode offset : offsets) {
      if (!offset.isIntegralNumber() || !offset.canConvertToLong()) {
        throw new CheckpointFormatException(
            file, at + "data_offsets " + offsets + "; expected whole numbers of bytes");
      }
    }
    long begin = offsets.get(0).longValue();
    long end = offsets.get(1).longValue();
    if (begin < 0 || end < begin || end > dataBytes) {
      throw new CheckpointFormatException(
          file,
          at + "data_offsets " + offsets + " are not inside the " + dataBytes + " bytes of data");
    }
    if (end - begin != count * dtype.bytes) {
      throw new CheckpointFormatException(
          file,
          at
              + "%d bytes; shape %s of %s takes %d"
                  .formatted(end - begin, shapeNode, dtype, count * dtype.bytes));
    }
    return new Entry(file, dtype, shape, dataAt + begin, end - begin);
  }

  private static Set<String> dtypes() {
    Set<String> names = new TreeSet<>();
    for (DType d : DType.values()) {
      names.add(d.name());
    }
    return names;
  }

  private static JsonNode parse(Path file, String what, byte[] text)
      throws CheckpointFormatException {
    JsonNode node;
    try {
      // Jackson would take UTF-16 and UTF-32 as well; the format knows UTF-8 only.
      node = JSON.readTree(UTF_8.newDecoder().decode(ByteBuffer.wrap(text)).toString());
    } catch (CharacterCodingException e) {
      throw new CheckpointFormatException(file, what + "is not UTF-8", e);
    } catch (IOException e) {
      throw new CheckpointFormatException(
          file, what + "is not JSON: " + e.getMessage().lines().findFirst().orElse(""), e);
    }
    if (node == null || !node.isObject()) {
      throw new CheckpointFormatException(file, what + "is not a JSON object");
    }
    return node;
  }
}
