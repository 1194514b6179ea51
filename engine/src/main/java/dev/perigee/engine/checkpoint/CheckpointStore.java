package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.core.type.TypeReference;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The checkpoints of one job in one folder, on a volume that all its pods share:
 *
 * <pre>
 * step-00000100/
 *   config.json                       Hugging Face's, as are the weights
 *   model.safetensors                 or model-0000k-of-0000n.safetensors and an index
 *   trainer/state.json                {@link TrainerState}
 *   trainer/optimizer-0000r-of-0000n.safetensors   state by parameter name, as each rank owned it
 *   trainer/manifest.json             SHA-256 of every other file
 * writer.json                         who writes here, see {@link #prepare}
 * </pre>
 *
 * <p>A checkpoint is written beside under a name with {@value #PARTIAL}, synced, and renamed: a
 * folder with its final name was complete once. One that was damaged later is noticed by its
 * checksums and set aside under a name with {@value #DAMAGED}.
 */
public final class CheckpointStore {
  private static final String PARTIAL = ".partial";
  private static final String DAMAGED = ".damaged";
  private static final Pattern NAME = Pattern.compile("step-(\\d{8,18})");
  private static final Pattern LEFTOVER =
      Pattern.compile(
          "step-(\\d{8,18})(" + Pattern.quote(PARTIAL) + "|" + Pattern.quote(DAMAGED) + ")");

  private final Path directory;
  private final int keep;
  private final Consumer<String> warnings;
  private final CheckpointFiles files;
  private Tenure tenure;

  /**
   * A store.
   *
   * @param directory of the job's checkpoints
   * @param keep how many of the newest stay
   * @param warnings is told of damaged checkpoints, one line each
   */
  public CheckpointStore(Path directory, int keep, Consumer<String> warnings) {
    this(directory, keep, warnings, CheckpointFiles.DISK);
  }

  /** A store on another kind of volume. */
  public CheckpointStore(
      Path directory, int keep, Consumer<String> warnings, CheckpointFiles files) {
    this.directory = directory;
    this.keep = keep;
    this.warnings = warnings;
    this.files = files;
  }

  /** What the first rank says where there is no step to name. */
  private static final long NO_CHECKPOINT = -1;

  private static final long ALL_DAMAGED = -2;

  /**
   * A checkpoint that is complete on the volume.
   *
   * @param folder in Hugging Face layout
   */
  public record Durable(Path folder, TrainerState state) {
    /** SHA-256 of its manifest, which holds that of every other file. */
    public String digest() throws StorageException {
      return CheckpointStore.digest(folder);
    }

    /** The weights. */
    public Safetensors weights() throws IOException {
      return Safetensors.open(folder);
    }

    /**
     * What is otherwise in a run that goes on from here than it was in the one that wrote this, as
     * far as it shows in no error: its data, and those parts of the model that no shape tells. One
     * line each; empty when nothing is.
     *
     * @param now of the run that goes on, its position aside
     */
    public List<String> changes(TrainerState now, HfConfig config) throws IOException {
      List<String> found = new ArrayList<>(state.changes(now));
      found.addAll(HfConfig.read(folder.resolve(HfConfig.FILE)).changes(config));
      return found;
    }

    /**
     * Fills in optimizer state by name, whichever ranks of whichever mesh wrote it.
     *
     * @throws CheckpointFormatException when some is not there or has another shape
     */
    public void readOptimizer(Map<String, Tensor> state) throws IOException {
      TrainerFiles.readOptimizer(folder, state);
    }
  }

  /**
   * SHA-256 in hexadecimal of a checkpoint's manifest, which holds that of every other file: the
   * name of exactly this content.
   */
  public static String digest(Path checkpoint) throws StorageException {
    Path manifest = checkpoint.resolve(Manifest.FILE);
    try {
      MessageDigest digest = Manifest.sha256();
      digest.update(Files.readAllBytes(manifest));
      return Manifest.hex(digest);
    } catch (IOException e) {
      throw new StorageException("cannot read " + manifest + ": " + reason(e), e);
    }
  }

  /** The folder of the checkpoint after a step. */
  public Path folder(long step) {
    return directory.resolve(String.format(Locale.ROOT, "step-%08d", step));
  }

  /**
   * Creates the directory, takes it over from a run that may still be alive somewhere, and removes
   * what a writer left behind half-written. Only one process of the job may call this, before any
   * saves; from then on its saves fail when another run has taken the directory over.
   *
   * @param writer who writes from now on, for people
   */
  public void prepare(String writer) throws StorageException {
    try {
      Files.createDirectories(directory);
      try {
        tenure = Tenure.begin(directory, writer, files);
      } catch (IOException e) { // what is half-written may have filled the volume
        if (!removePartials()) {
          throw e;
        }
        tenure = Tenure.begin(directory, writer, files);
      }
      removePartials();
    } catch (IOException e) {
      throw new StorageException("cannot write to " + directory + ": " + reason(e), e);
    }
  }

  /** Whether there were any. */
  private boolean removePartials() throws IOException {
    boolean any = false;
    for (Path entry : list(LEFTOVER)) {
      if (entry.toString().endsWith(PARTIAL)) {
        files.delete(entry);
        any = true;
      }
    }
    return any;
  }

  /** {@link #latestDurable(Collectives)} for a program of one rank. */
  public Optional<Durable> latestDurable() throws CorruptCheckpointsException, StorageException {
    return latestDurable(Collectives.solo());
  }

  /**
   * The newest checkpoint whose files are all as they were written. Damaged ones that are newer are
   * set aside, with a warning each. Collective over all ranks of the job, which share the reading:
   * a checkpoint of Kimi K2 has terabytes.
   *
   * @throws CorruptCheckpointsException on every rank when there are checkpoints and all are
   *     damaged
   */
  public Optional<Durable> latestDurable(Collectives world)
      throws CorruptCheckpointsException, StorageException {
    boolean first = world.index() == 0;
    try {
      List<Path> newestFirst = first ? list(NAME).reversed() : List.of();
      List<String> faults = new ArrayList<>(); // of the first rank: one for each that was looked at
      while (true) {
        Optional<Path> whole = first ? nextWhole(newestFirst, faults) : Optional.empty();
        long none = faults.isEmpty() ? NO_CHECKPOINT : ALL_DAMAGED;
        long found = tell(world, whole.map(folder -> step(NAME, folder)).orElse(none));
        if (found == NO_CHECKPOINT) {
          return Optional.empty();
        }
        if (found == ALL_DAMAGED) {
          throw allDamaged(faults);
        }
        Path folder = folder(found);
        Optional<String> damaged = damagedFile(folder, world);
        if (damaged.isEmpty()) {
          setAside(first ? newestFirst.subList(0, faults.size()) : List.of());
          return Optional.of(read(folder));
        }
        if (first) {
          note(folder, damaged.get() + " does not match its checksum", faults);
        }
      }
    } catch (IOException e) {
      throw new StorageException("cannot read " + directory + ": " + reason(e), e);
    }
  }

  /** The next checkpoint that is whole as far as the sizes of its files tell. */
  private Optional<Path> nextWhole(List<Path> newestFirst, List<String> faults) throws IOException {
    for (Path folder : newestFirst.subList(faults.size(), newestFirst.size())) {
      try {
        Manifest.read(folder).checkSizes(folder);
        return Optional.of(folder);
      } catch (Manifest.DamagedException e) {
        note(folder, e.getMessage(), faults);
      }
    }
    return Optional.empty();
  }

  private void note(Path folder, String fault, List<String> faults) {
    faults.add(folder + " is damaged: " + fault);
    warnings.accept("checkpoint " + faults.getLast() + "; using the one before");
  }

  private CorruptCheckpointsException allDamaged(List<String> faults) {
    return new CorruptCheckpointsException(
        "every checkpoint is damaged; restore one from a copy, or empty "
            + directory
            + " to start again"
            + (faults.isEmpty() ? "" : ": " + String.join("; ", faults)));
  }

  /** What the first rank says. */
  private static long tell(Collectives world, long said) {
    double[] number = {world.index() == 0 ? said : 0};
    world.allReduceSum(number);
    return (long) number[0];
  }

  /** A file that is not as it was written. Every rank reads its share of all. */
  private static Optional<String> damagedFile(Path folder, Collectives world) throws IOException {
    List<String> names = List.of();
    int damaged = -1;
    IOException unreadable = null;
    try {
      Manifest manifest = Manifest.read(folder);
      names = manifest.largestFirst();
      for (String name : manifest.share(world.index(), world.size())) {
        if (!manifest.isWhole(folder, name)) {
          damaged = names.indexOf(name);
          break;
        }
      }
    } catch (IOException e) {
      unreadable = e;
    } catch (Manifest.DamagedException e) { // the first rank has read it
      unreadable = new IOException(e.getMessage(), e);
    }
    Tensor worst = Tensor.of(new float[] {unreadable != null ? Float.MAX_VALUE : damaged}, 1);
    world.allReduceMax(worst);
    float all = worst.floats()[0];
    if (unreadable != null) {
      throw unreadable;
    }
    if (all == Float.MAX_VALUE) {
      throw new IOException("another rank could not read " + folder);
    }
    return all < 0 ? Optional.empty() : Optional.of(names.get((int) all));
  }

  private static Durable read(Path folder) throws IOException {
    return new Durable(folder, TrainerFiles.readState(folder));
  }

  private void setAside(List<Path> damaged) throws IOException {
    for (Path folder : damaged) {
      Path aside = folder.resolveSibling(folder.getFileName() + DAMAGED);
      files.delete(aside);
      files.rename(folder, aside);
    }
  }

  /**
   * Writes a checkpoint. Collective over all ranks of the job; returns on every rank when it is
   * durable.
   *
   * @param part what this rank has to write
   * @param config of the model
   * @param world all ranks
   * @return the checkpoint's folder
   * @throws StorageException on every rank when any of them could not write; nothing is left behind
   * @throws SupersededException on every rank when another run writes here by now; nothing is
   *     changed
   */
  public Path save(Contribution part, TrainerState state, HfConfig config, Collectives world)
      throws StorageException {
    Path folder = folder(state.step());
    Path partial = folder.resolveSibling(folder.getFileName() + PARTIAL);
    boolean first = world.index() == 0;
    together(
        world,
        partial,
        () -> {
          if (first) {
            requireTenure();
            files.delete(partial);
            Files.createDirectories(partial.resolve(TrainerFiles.FOLDER));
          }
        });
    together(world, partial, () -> new Writer(partial).writePart(part, world));
    together(
        world,
        partial,
        () -> {
          if (first) {
            new Writer(partial).finish(state, config, world.size());
            requireTenure(); // writing took long; from here to the new name it is milliseconds
            files.delete(folder); // the same step saved before, by a run that was set back since
            files.rename(partial, folder);
            files.sync(directory);
            prune();
          }
        });
    return folder;
  }

  private void requireTenure() throws IOException, SupersededException {
    if (tenure != null) {
      tenure.requireMine();
    }
  }

  /** Of a rank that hears of it from another; in the first rank's pod it can see by whom. */
  private SupersededException told() {
    String cause = "";
    try {
      requireTenure();
    } catch (SupersededException e) {
      return e;
    } catch (IOException e) {
      cause = ": " + reason(e);
    }
    return new SupersededException("another run writes to " + directory + " by now" + cause);
  }

  private interface Work {
    void run() throws IOException, SupersededException;
  }

  /** Every rank does its part; when one of them fails, all do. */
  private void together(Collectives world, Path partial, Work work) throws StorageException {
    IOException failure = null;
    SupersededException superseded = null;
    try {
      work.run();
    } catch (IOException e) {
      failure = e;
    } catch (SupersededException e) {
      superseded = e;
    }
    try {
      requireTenure(); // the other run removes what is half-written, which is why a write may fail
    } catch (IOException e) {
      failure = e;
    } catch (SupersededException e) {
      superseded = e;
    }
    Tensor worst = Tensor.of(new float[] {superseded != null ? 2 : failure != null ? 1 : 0}, 1);
    world.allReduceMax(worst);
    if (worst.floats()[0] == 0) {
      return;
    }
    if (worst.floats()[0] == 2) { // what is there may be the other run's
      throw superseded != null ? superseded : told();
    }
    if (world.index() == 0) {
      try {
        files.delete(partial);
      } catch (IOException e) {
        warnings.accept("cannot remove " + partial + ": " + reason(e) + "; the next start will");
      }
    }
    String why = failure == null ? "another rank could not write its part" : reason(failure);
    throw new StorageException("cannot write checkpoint " + partial + ": " + why, failure);
  }

  /** What one rank has written, for the first rank to put together. */
  private record Written(Map<String, Manifest.Entry> files, Map<String, Long> tensorBytes) {}

  /** One rank's writes into one folder. */
  private final class Writer {
    private final Path folder;
    private final Map<String, Manifest.Entry> written = new TreeMap<>();

    Writer(Path folder) {
      this.folder = folder;
    }

    void writePart(Contribution part, Collectives world) throws IOException {
      Map<String, Long> tensorBytes = new TreeMap<>();
      if (!part.weights().isEmpty()) {
        writeTensors(part.weightsFile(), part.weights());
        part.weights().forEach((name, x) -> tensorBytes.put(name, 4L * x.size()));
      }
      if (!part.optimizer().isEmpty()) {
        writeTensors(TrainerFiles.optimizer(world.index(), world.size()), part.optimizer());
      }
      byte[] note = TrainerFiles.JSON.writeValueAsBytes(new Written(written, tensorBytes));
      Files.write(folder.resolve(note(world.index())), note);
    }

    void finish(TrainerState state, HfConfig config, int ranks) throws IOException {
      Map<String, String> shardOf = new LinkedHashMap<>();
      long totalBytes = 0;
      for (int rank = 0; rank < ranks; rank++) {
        Path note = folder.resolve(note(rank));
        Written other =
            TrainerFiles.JSON.readValue(Files.readAllBytes(note), new TypeReference<>() {});
        written.putAll(other.files);
        for (Map.Entry<String, Long> tensor : other.tensorBytes.entrySet()) {
          String shard =
              other.files.keySet().stream()
                  .filter(f -> !f.startsWith(TrainerFiles.FOLDER))
                  .findFirst()
                  .orElseThrow();
          shardOf.put(tensor.getKey(), shard);
          totalBytes += tensor.getValue();
        }
        Files.delete(note);
      }
      if (!shardOf.containsValue(Safetensors.SINGLE)) {
        long bytes = totalBytes;
        write(Safetensors.INDEX, out -> SafetensorsWriter.writeIndex(out, shardOf, bytes));
      }
      write(HfConfig.FILE, out -> out.write(config.toJson().getBytes(StandardCharsets.UTF_8)));
      write(
          TrainerFiles.STATE,
          out ->
              out.write(
                  TrainerFiles.JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(state)));
      byte[] manifest = new Manifest(written).toJson();
      write(Manifest.FILE, out -> out.write(manifest));
      files.sync(folder.resolve(TrainerFiles.FOLDER));
      files.sync(folder);
    }

    private void writeTensors(String name, SequencedMap<String, Tensor> tensors)
        throws IOException {
      write(name, out -> SafetensorsWriter.write(out, tensors, Map.of()));
    }

    private void write(String name, Content content) throws IOException {
      Path file = folder.resolve(name);
      MessageDigest digest = Manifest.sha256();
      long bytes;
      try (OutputStream out = new BufferedOutputStream(files.create(file), 1 << 18);
          DigestOutputStream digesting = new DigestOutputStream(out, digest)) {
        content.write(digesting);
      }
      bytes = Files.size(file);
      files.sync(file);
      written.put(name, new Manifest.Entry(bytes, Manifest.hex(digest)));
    }

    private static String note(int rank) {
      return TrainerFiles.FOLDER + "/part-" + rank + ".json";
    }
  }

  private interface Content {
    void write(OutputStream out) throws IOException;
  }

  /** Removes checkpoints beyond the newest, and damaged ones that are older than those kept. */
  private void prune() throws IOException {
    List<Path> complete = list(NAME);
    for (Path old : complete.subList(0, Math.max(0, complete.size() - keep))) {
      remove(old);
    }
    long oldest = list(NAME).stream().mapToLong(p -> step(NAME, p)).min().orElse(0);
    for (Path aside : list(LEFTOVER)) {
      if (aside.toString().endsWith(DAMAGED) && step(LEFTOVER, aside) < oldest) {
        remove(aside);
      }
    }
  }

  /**
   * Removes what is no longer wanted. On NFS, for one, a folder stays as long as somebody reads in
   * it; the checkpoint that has just become durable is none the worse for that.
   */
  private void remove(Path old) {
    try {
      files.delete(old);
    } catch (IOException e) {
      warnings.accept(
          "cannot remove the old checkpoint "
              + old
              + ": "
              + reason(e)
              + "; the next save tries again");
    }
  }

  /** Entries whose whole name matches, by step. */
  private List<Path> list(Pattern pattern) throws IOException {
    if (!Files.isDirectory(directory)) {
      return List.of();
    }
    try (Stream<Path> entries = Files.list(directory)) {
      return entries
          .filter(p -> pattern.matcher(p.getFileName().toString()).matches())
          .filter(Files::isDirectory)
          .sorted(Comparator.comparingLong(p -> step(pattern, p)))
          .toList();
    }
  }

  private static long step(Pattern pattern, Path folder) {
    Matcher m = pattern.matcher(folder.getFileName().toString());
    return m.matches() ? Long.parseLong(m.group(1)) : -1;
  }

  /** What is wrong in words: of some errors the JDK's message is only the file. */
  private static String reason(IOException e) {
    return switch (e) {
      case AccessDeniedException _ -> "permission denied for " + e.getMessage();
      case DirectoryNotEmptyException _ -> "somebody else has a file in " + e.getMessage();
      case FileAlreadyExistsException _ -> "a file has the name of the folder " + e.getMessage();
      case NoSuchFileException _ -> "there is no " + e.getMessage();
      default -> e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    };
  }
}
