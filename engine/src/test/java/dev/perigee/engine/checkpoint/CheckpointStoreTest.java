package dev.perigee.engine.checkpoint;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.checkpoint.CheckpointStore.Durable;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SequencedMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointStoreTest {
  private static final ModelConfig MODEL = ModelPresets.find("quickstart").orElseThrow();
  private static final HfConfig HF = new HfConfig(MODEL, 256, 257);

  @TempDir Path directory;
  private final List<String> warnings = new ArrayList<>();

  @Test
  void aCheckpointComesBackAsItWasWritten() throws Exception {
    CheckpointStore store = store(2);
    Path folder = save(store, 7);
    assertThat(folder.getFileName()).hasToString("step-00000007");
    Durable durable = store.latestDurable().orElseThrow();
    assertThat(durable.folder()).isEqualTo(folder);
    assertThat(durable.state()).isEqualTo(state(7));
    assertThat(durable.weights().read("w").floats()).isEqualTo(numbers(6, 7));
    Tensor momentum = Tensor.zeros(2, 3);
    durable.readOptimizer(Map.of("w.momentum", momentum));
    assertThat(momentum.floats()).isEqualTo(numbers(6, 1007));
    assertThat(HfConfig.read(folder.resolve(HfConfig.FILE))).isEqualTo(HF);
    assertThat(warnings).isEmpty();
  }

  @Test
  void anEmptyOrMissingDirectoryHasNoCheckpoint() throws Exception {
    assertThat(store(1).latestDurable()).isEmpty();
    assertThat(new CheckpointStore(directory.resolve("none"), 1, warnings::add).latestDurable())
        .isEmpty();
  }

  @Test
  void onlyTheNewestAreKept() throws Exception {
    CheckpointStore store = store(2);
    for (int step = 8; step <= 11; step++) {
      save(store, step);
    }
    assertThat(names()).containsExactly("step-00000010", "step-00000011");
  }

  @Test
  void theSameStepCanBeSavedAgain() throws Exception {
    CheckpointStore store = store(2);
    save(store, 5);
    save(store, 5);
    assertThat(store.latestDurable().orElseThrow().state().step()).isEqualTo(5);
  }

  @Test
  void whatAWriterLeftHalfWrittenIsRemovedAtTheStart() throws Exception {
    CheckpointStore store = store(2);
    save(store, 5);
    Path partial = Files.createDirectories(directory.resolve("step-00000006.partial/trainer"));
    Files.writeString(partial.resolve("state.json"), "{");
    Files.writeString(directory.resolve("history.jsonl"), "");
    store.prepare("a test");
    assertThat(names()).containsExactly("history.jsonl", "step-00000005", "writer.json");
  }

  /** A writer that is killed cannot clear away what it has filled the volume with. */
  @Test
  void whatAWriterLeftHalfWrittenIsRemovedAlsoWhereItFillsTheVolume() throws Exception {
    save(store(2), 5);
    Path partial = Files.createDirectories(directory.resolve("step-00000006.partial/trainer"));
    Files.writeString(partial.resolve("state.json"), "{");
    CheckpointFiles crowded =
        new Full(1 << 20) {
          @Override
          public OutputStream create(Path file) throws IOException {
            return Files.exists(partial)
                ? new FilterOutputStream(OutputStream.nullOutputStream()) {
                  @Override
                  public void write(byte[] bytes, int from, int count) throws IOException {
                    throw new IOException("No space left on device");
                  }
                }
                : super.create(file);
          }
        };
    CheckpointStore store = new CheckpointStore(directory, 2, warnings::add, crowded);
    store.prepare("a test");
    assertThat(names()).containsExactly("step-00000005", "writer.json");
    save(store, 7);

    CheckpointStore full = new CheckpointStore(directory, 2, warnings::add, new Full(0));
    assertThatThrownBy(() -> full.prepare("another"))
        .isInstanceOf(StorageException.class)
        .hasMessageContaining("cannot write to " + directory + ": No space left on device");
  }

  @Test
  void aRunThatIsStillAliveSavesNothingWhereALaterOneHasBegun() throws Exception {
    CheckpointStore first = store(9);
    first.prepare("start 1 of demo");
    save(first, 1);
    CheckpointStore second = store(9);
    second.prepare("start 2 of demo");
    assertThatThrownBy(() -> save(first, 2))
        .isInstanceOf(SupersededException.class)
        .hasMessageContaining("start 2 of demo writes here since")
        .hasMessageContaining("this is start 1 of demo");
    assertThat(names()).containsExactly("step-00000001", "writer.json");
    save(second, 2);
    Files.delete(directory.resolve("writer.json"));
    save(second, 3);
    Files.writeString(directory.resolve("writer.json"), "{}");
    assertThatThrownBy(() -> save(second, 4)).isInstanceOf(SupersededException.class);
    Files.writeString(directory.resolve("writer.json"), "\0");
    assertThatThrownBy(() -> save(second, 4)).hasMessageContaining("somebody changed it");
    assertThat(names())
        .containsExactly("step-00000001", "step-00000002", "step-00000003", "writer.json");
  }

  @Test
  void aRunThatIsTakenOverWhileItWritesPublishesNothingOnAnyRank() throws Exception {
    Fabric fabric = Fabric.local(2);
    CheckpointStore second = store(9);
    List<Class<?>> ends =
        fabric.run(
            rank -> {
              CheckpointStore first =
                  new CheckpointStore(
                      directory,
                      9,
                      warnings::add,
                      rank == 0 ? takenOverBy(second) : CheckpointFiles.DISK);
              if (rank == 0) {
                first.prepare("start 1 of demo");
              }
              try {
                first.save(
                    new Contribution(tensors("w" + rank, rank), rank, 2, new LinkedHashMap<>()),
                    state(3),
                    HF,
                    fabric.collectives(rank, List.of(0, 1)));
                return null;
              } catch (SupersededException e) {
                return e.getClass();
              }
            });
    assertThat(ends).containsExactly(SupersededException.class, SupersededException.class);
    assertThat(store(9).latestDurable()).isEmpty();
  }

  /** A disk on which another run begins as soon as the manifest is written. */
  private static CheckpointFiles takenOverBy(CheckpointStore other) {
    return new Full(Long.MAX_VALUE) {
      @Override
      public void sync(Path path) throws IOException {
        super.sync(path);
        if (path.endsWith(Manifest.FILE)) {
          try {
            other.prepare("start 2 of demo");
          } catch (StorageException e) {
            throw new IOException(e);
          }
        }
      }
    };
  }

  @Test
  void aFlippedBitInAnyFileIsNoticedAndTheCheckpointBeforeUsed() throws Exception {
    save(store(9), 1);
    List<Path> files = filesOf(save(store(9), 2));
    assertThat(files).hasSize(5);
    for (Path file : files) {
      byte[] good = flipABit(file);
      warnings.clear();
      Durable used = store(9).latestDurable().orElseThrow();
      assertThat(used.state().step()).as(file.toString()).isEqualTo(1);
      assertThat(warnings).hasSize(1);
      assertThat(warnings.getFirst())
          .contains("step-00000002 is damaged")
          .contains("using the one before")
          .doesNotContain("\n");
      Path aside = directory.resolve("step-00000002.damaged");
      Files.write(aside.resolve(directory.resolve("step-00000002").relativize(file)), good);
      Files.move(aside, directory.resolve("step-00000002"));
    }
    assertThat(store(9).latestDurable().orElseThrow().state().step()).isEqualTo(2);
  }

  /** Damages a file, and returns what it held. */
  private static byte[] flipABit(Path file) throws IOException {
    byte[] good = Files.readAllBytes(file);
    byte[] bad = good.clone();
    bad[bad.length / 2] ^= 1;
    Files.write(file, bad);
    return good;
  }

  @Test
  void ranksShareTheReadingAndAllHearWhatAnyOfThemFinds() throws Exception {
    save(store(9), 1);
    List<Path> files = new ArrayList<>(filesOf(save(store(9), 2)));
    files.remove(directory.resolve("step-00000002").resolve(Manifest.FILE));
    assertThat(files).as("more than ranks").hasSize(4);
    for (Path file : files) {
      byte[] good = flipABit(file);
      warnings.clear();
      assertThat(stepsFound(3)).as(file.toString()).containsExactly("1", "1", "1");
      assertThat(warnings).as("of the first rank").hasSize(1);
      Path relative = directory.resolve("step-00000002").relativize(file);
      assertThat(warnings.getFirst()).contains(relative.toString());
      Path aside = directory.resolve("step-00000002.damaged");
      Files.write(aside.resolve(relative), good);
      Files.move(aside, directory.resolve("step-00000002"));
    }
    assertThat(stepsFound(3)).containsExactly("2", "2", "2");
    for (int step = 1; step <= 2; step++) {
      flipABit(directory.resolve("step-0000000" + step).resolve(Safetensors.SINGLE));
    }
    assertThat(stepsFound(3)).allMatch(end -> end.startsWith("every checkpoint is damaged"));
    assertThat(names()).containsExactly("step-00000001", "step-00000002");
  }

  private List<String> stepsFound(int ranks) throws Exception {
    Fabric fabric = Fabric.local(ranks);
    return fabric.run(
        rank -> {
          Collectives world = fabric.collectives(rank, IntStream.range(0, ranks).boxed().toList());
          try {
            return store(9)
                .latestDurable(world)
                .map(found -> Long.toString(found.state().step()))
                .orElse("none");
          } catch (CorruptCheckpointsException e) {
            return e.getMessage();
          }
        });
  }

  @Test
  void everyFileIsReadByOneRankAndTheBytesAreSharedOut() {
    Map<String, Manifest.Entry> files = new LinkedHashMap<>();
    for (int i = 0; i < 40; i++) {
      files.put("f" + i, new Manifest.Entry(1000 + 17L * i, ""));
    }
    files.put("small", new Manifest.Entry(1, ""));
    Manifest manifest = new Manifest(files);
    List<String> read = new ArrayList<>();
    for (int rank = 0; rank < 8; rank++) {
      List<String> share = manifest.share(rank, 8);
      assertThat(share.stream().mapToLong(name -> files.get(name).bytes()).sum())
          .isBetween(6100L, 7300L);
      read.addAll(share);
    }
    assertThat(read).containsExactlyInAnyOrderElementsOf(files.keySet());
    assertThat(manifest.share(50, 64)).as("more ranks than files").isEmpty();
  }

  @Test
  void aFileCutShortOrMissingIsNoticed() throws Exception {
    save(store(9), 1);
    Path weights = save(store(9), 2).resolve(Safetensors.SINGLE);
    Files.write(weights, Arrays.copyOf(Files.readAllBytes(weights), 20));
    assertThat(store(9).latestDurable().orElseThrow().state().step()).isEqualTo(1);
    assertThat(warnings.getFirst()).contains("model.safetensors has 20 bytes; it was written with");
    Files.delete(save(store(9), 2).resolve("trainer/manifest.json"));
    assertThat(store(9).latestDurable().orElseThrow().state().step()).isEqualTo(1);
    assertThat(warnings.getLast()).contains("no trainer/manifest.json");
    Files.delete(save(store(9), 2).resolve("config.json"));
    assertThat(store(9).latestDurable().orElseThrow().state().step()).isEqualTo(1);
    assertThat(warnings.getLast()).contains("config.json is missing");
  }

  @Test
  void aManifestThatIsNoneIsDamageLikeAnyOther() throws Exception {
    save(store(9), 1);
    Path manifest = save(store(9), 2).resolve("trainer/manifest.json");
    String state = "\"trainer/state.json\": ";
    List<byte[]> damaged =
        List.of(
            new byte[0],
            new byte[64], // as a file system leaves it after a loss of power
            new byte[] {0, 0, 0, '{', 1, 2, 3, 4, 5, 6, 7, 8}, // no UTF-32 either
            "null".getBytes(UTF_8),
            ("{\"files\": {" + state + "null}}").getBytes(UTF_8),
            ("{\"files\": {" + state + "{}, \"\\u0000\": {\"bytes\": 1}}}").getBytes(UTF_8));
    for (byte[] bytes : damaged) {
      Files.write(manifest, bytes);
      Durable used = store(9).latestDurable().orElseThrow();
      assertThat(used.state().step()).as(new String(bytes, UTF_8)).isEqualTo(1);
      assertThat(warnings.getLast()).contains("step-00000002 is damaged: trainer/manifest.json");
      Files.move(directory.resolve("step-00000002.damaged"), directory.resolve("step-00000002"));
    }
  }

  @Test
  void aFolderWithANumberThatNoStepHasIsLeftAlone() throws Exception {
    Path other = Files.createDirectories(directory.resolve("step-99999999999999999999"));
    CheckpointStore store = store(1);
    store.prepare("a test");
    assertThat(store.latestDurable()).isEmpty();
    save(store, 1);
    save(store, 2);
    assertThat(names())
        .containsExactly("step-00000002", other.getFileName().toString(), "writer.json");
  }

  /** On NFS a folder stays as long as somebody has a file of it open. */
  @Test
  void anOldCheckpointThatCannotBeRemovedCostsNoNewOne() throws Exception {
    CheckpointFiles sticky =
        new Full(1 << 20) {
          @Override
          public void delete(Path folder) throws IOException {
            if (folder.endsWith("step-00000001") && Files.exists(folder)) {
              throw new DirectoryNotEmptyException(folder.toString());
            }
            super.delete(folder);
          }
        };
    CheckpointStore store = new CheckpointStore(directory, 1, warnings::add, sticky);
    for (int step = 1; step <= 3; step++) {
      save(store, step);
    }
    assertThat(names()).containsExactly("step-00000001", "step-00000003");
    assertThat(warnings)
        .hasSize(2)
        .allSatisfy(
            warning ->
                assertThat(warning)
                    .contains("cannot remove the old checkpoint", "step-00000001")
                    .doesNotContain("\n"));
    assertThat(store.latestDurable().orElseThrow().state().step()).isEqualTo(3);
  }

  /** The JDK's own message is the file, and not what is wrong with it. */
  @Test
  void aVolumeOfSomebodyElseSaysThatItDeniesWrites() {
    CheckpointFiles denied =
        new Full(1 << 20) {
          @Override
          public OutputStream create(Path file) throws IOException {
            throw new AccessDeniedException(file.toString());
          }
        };
    CheckpointStore store = new CheckpointStore(directory, 1, warnings::add, denied);
    assertThatThrownBy(() -> save(store, 1))
        .isInstanceOf(StorageException.class)
        .hasMessageContaining("permission denied for " + directory);
  }

  @Test
  void namesAreTheSameInEveryLocale() throws Exception {
    Locale before = Locale.getDefault();
    Locale.setDefault(Locale.forLanguageTag("ar-EG")); // which has digits of its own
    try {
      assertThat(store(1).folder(7)).isEqualTo(directory.resolve("step-00000007"));
      assertThat(TrainerFiles.optimizer(0, 2))
          .isEqualTo("trainer/optimizer-00001-of-00002.safetensors");
      assertThat(new Contribution(new LinkedHashMap<>(), 0, 2, new LinkedHashMap<>()).weightsFile())
          .isEqualTo("model-00001-of-00002.safetensors");
      save(store(1), 7);
      assertThat(store(1).latestDurable()).isPresent();
    } finally {
      Locale.setDefault(before);
    }
  }

  @Test
  void checkpointsThatAreAllDamagedAreNotPassedOver() throws Exception {
    for (int step = 1; step <= 2; step++) {
      Files.delete(save(store(9), step).resolve("trainer/state.json"));
    }
    assertThatThrownBy(() -> store(9).latestDurable())
        .isInstanceOf(CorruptCheckpointsException.class)
        .hasMessageContaining("every checkpoint is damaged")
        .hasMessageContaining("step-00000001")
        .hasMessageContaining("step-00000002");
    assertThat(names()).containsExactly("step-00000001", "step-00000002");
  }

  @Test
  void aFullDiskAtAnyPointLeavesTheCheckpointBeforeAndNothingElse() throws Exception {
    save(store(9), 1);
    long bytes = 0;
    for (Path file : filesOf(directory.resolve("step-00000001"))) {
      bytes += Files.size(file);
    }
    for (long room = 0; room < bytes; room += bytes / 23) {
      CheckpointStore full = new CheckpointStore(directory, 9, warnings::add, new Full(room));
      assertThatThrownBy(() -> save(full, 2))
          .isInstanceOf(StorageException.class)
          .hasMessageContaining("cannot write checkpoint")
          .hasMessageContaining("No space left on device");
      assertThat(names()).containsExactly("step-00000001");
      assertThat(store(9).latestDurable().orElseThrow().state().step()).isEqualTo(1);
    }
    assertThat(warnings).isEmpty();
  }

  @Test
  void whenOneRankCannotWriteNoneBelievesInTheCheckpoint() throws Exception {
    for (int broken = 0; broken < 2; broken++) {
      int failing = broken;
      Fabric fabric = Fabric.local(2);
      List<String> ends =
          fabric.run(
              rank -> {
                CheckpointFiles files = rank == failing ? new Full(10) : CheckpointFiles.DISK;
                CheckpointStore store = new CheckpointStore(directory, 9, warnings::add, files);
                Collectives world = fabric.collectives(rank, List.of(0, 1));
                SequencedMap<String, Tensor> weights = tensors("w" + rank, rank);
                try {
                  store.save(
                      new Contribution(weights, rank, 2, new LinkedHashMap<>()),
                      state(3),
                      HF,
                      world);
                  return "saved";
                } catch (StorageException e) {
                  return e.getMessage();
                }
              });
      assertThat(ends).allMatch(end -> end.startsWith("cannot write checkpoint"));
      assertThat(ends.get(1 - failing)).contains("another rank could not write its part");
      assertThat(names()).isEmpty();
    }
  }

  @Test
  void theShardsOfSeveralRanksAreOneCheckpoint() throws Exception {
    Fabric fabric = Fabric.local(3);
    List<Path> folders =
        fabric.run(
            rank ->
                store(1)
                    .save(
                        new Contribution(
                            rank == 2 ? new LinkedHashMap<>() : tensors("w" + rank, rank),
                            rank % 2,
                            2,
                            tensors("w" + rank + ".momentum", 10 + rank)),
                        state(3),
                        HF,
                        fabric.collectives(rank, List.of(0, 1, 2))));
    assertThat(folders).containsOnly(directory.resolve("step-00000003"));
    Durable durable = store(1).latestDurable().orElseThrow();
    assertThat(durable.weights().names()).containsExactly("w0", "w1");
    assertThat(filesOf(durable.folder()))
        .extracting(f -> durable.folder().relativize(f).toString())
        .containsExactlyInAnyOrder(
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "trainer/manifest.json",
            "trainer/optimizer-00001-of-00003.safetensors",
            "trainer/optimizer-00002-of-00003.safetensors",
            "trainer/optimizer-00003-of-00003.safetensors",
            "trainer/state.json");
    Tensor last = Tensor.zeros(2, 3);
    durable.readOptimizer(Map.of("w2.momentum", last));
    assertThat(last.floats()).isEqualTo(numbers(6, 12));
  }

  @Test
  void whoGoesOnIsToldWhatIsNotAsItWas() throws Exception {
    Map<String, String> data = Map.of("data[0]", "web, 2 files", "data[1]", "code, 1 file");
    TrainerState then = new TrainerState(3, 300, 30, 1, 10, 100, Mesh.SINGLE, data);
    Contribution all = new Contribution(tensors("w", 3), 0, 1, tensors("w.momentum", 3));
    store(1).save(all, then, HF, Collectives.solo());
    Durable durable = store(1).latestDurable().orElseThrow();
    assertThat(durable.state()).isEqualTo(then);
    assertThat(durable.changes(then, HF)).isEmpty();

    TrainerState now =
        new TrainerState(
            0, 0, 0, 2, 20, 200, Mesh.SINGLE, Map.of("data[0]", "web, 3 files", "x", "y"));
    HfConfig hotter = HfConfig.read(durable.folder().resolve(HfConfig.FILE));
    Path other = Files.createDirectories(directory.resolve("other")).resolve(HfConfig.FILE);
    Files.writeString(
        other, hotter.toJson().replaceFirst("(\"rope_theta\" : )[^,]*", "$1 250000.0"));
    assertThat(durable.changes(now, HfConfig.read(other)))
        .containsExactly(
            "seed is 2 now and was 1: the data comes in another order",
            "sequenceLength is 20 now and was 10: texts may come twice or never",
            "data[0] is web, 3 files now and was web, 2 files: texts may come twice or never",
            "data[1] is nothing now and was code, 1 file: texts may come twice or never",
            "x is y now and was nothing: texts may come twice or never",
            "rope_theta of config.json is 250000.0 now and was 10000.0: another model goes on from"
                + " these weights");
  }

  /** Before, checkpoints did not say which data they were trained on. */
  @Test
  void aCheckpointThatDoesNotSayWhatItsDataWasIsTakenAsItIs() throws Exception {
    Path folder = save(store(1), 3);
    assertThat(Files.readString(folder.resolve("trainer/state.json"))).doesNotContain("null");
    TrainerState now = new TrainerState(0, 0, 0, 1, 10, 100, Mesh.SINGLE, Map.of("data[0]", "web"));
    assertThat(store(1).latestDurable().orElseThrow().changes(now, HF)).isEmpty();
  }

  @Test
  void optimizerStateThatIsNotThereOrOfAnotherShapeIsNamed() throws Exception {
    save(store(1), 1);
    Durable durable = store(1).latestDurable().orElseThrow();
    assertThatThrownBy(() -> durable.readOptimizer(Map.of("w.exp_avg", Tensor.zeros(2, 3))))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("no optimizer state w.exp_avg");
    assertThatThrownBy(() -> durable.readOptimizer(Map.of("w.momentum", Tensor.zeros(3, 2))))
        .isInstanceOf(CheckpointFormatException.class)
        .hasMessageContaining("w.momentum has shape [2, 3]; expected [3, 2]");
  }

  private CheckpointStore store(int keep) {
    return new CheckpointStore(directory, keep, warnings::add);
  }

  private static Path save(CheckpointStore store, int step) throws StorageException {
    Contribution all =
        new Contribution(tensors("w", step), 0, 1, tensors("w.momentum", 1000 + step));
    return store.save(all, state(step), HF, Collectives.solo());
  }

  private static TrainerState state(long step) {
    return new TrainerState(step, step * 100, step * 10, 1, 10, 100, Mesh.SINGLE, null);
  }

  private static SequencedMap<String, Tensor> tensors(String name, int from) {
    SequencedMap<String, Tensor> tensors = new LinkedHashMap<>();
    tensors.put(name, Tensor.of(numbers(6, from), 2, 3));
    return tensors;
  }

  private static float[] numbers(int count, int from) {
    float[] numbers = new float[count];
    IntStream.range(0, count).forEach(i -> numbers[i] = from + i / 8f);
    return numbers;
  }

  private List<String> names() throws IOException {
    try (Stream<Path> entries = Files.list(directory)) {
      return entries.map(p -> p.getFileName().toString()).sorted().toList();
    }
  }

  private static List<Path> filesOf(Path folder) throws IOException {
    try (Stream<Path> entries = Files.walk(folder)) {
      return entries.filter(Files::isRegularFile).sorted().toList();
    }
  }

  /** A volume with room for so many bytes. */
  private static class Full implements CheckpointFiles {
    private long room;

    Full(long room) {
      this.room = room;
    }

    @Override
    public OutputStream create(Path file) throws IOException {
      return new FilterOutputStream(DISK.create(file)) {
        @Override
        public void write(byte[] bytes, int from, int count) throws IOException {
          room -= count;
          if (room < 0) {
            throw new IOException("No space left on device");
          }
          out.write(bytes, from, count);
        }

        @Override
        public void write(int b) throws IOException {
          write(new byte[] {(byte) b}, 0, 1);
        }
      };
    }

    @Override
    public void sync(Path path) throws IOException {
      DISK.sync(path);
    }

    @Override
    public void rename(Path from, Path to) throws IOException {
      DISK.rename(from, to);
    }

    @Override
    public void delete(Path folder) throws IOException {
      DISK.delete(folder);
    }
  }
}
