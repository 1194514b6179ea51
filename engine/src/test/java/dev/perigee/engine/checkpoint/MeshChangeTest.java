package dev.perigee.engine.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.model.StagePlace;
import dev.perigee.engine.optim.Optimizer;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.plan.StageLayout;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What one mesh has written, any other reads: weights, router biases and optimizer state. */
class MeshChangeTest {
  private static final ModelConfig MODEL =
      new ModelConfig(
          20, 16, 24, 12, 2, 1, 2, 8, 8, 4, 2, 4, 8, 2, 1, 1, 1, 1.4, true, 10_000, null, 64, 1e-6,
          0.02, false);
  private static final RunConfig.Optimizer OPTIMIZER =
      new RunConfig.Optimizer(
          RunConfig.Optimizer.Kind.MuonClip,
          0.1,
          0,
          RunConfig.Optimizer.Muon.DEFAULT,
          RunConfig.Optimizer.AdamW.DEFAULT,
          RunConfig.Optimizer.QkClip.DEFAULT,
          0);

  @TempDir Path directory;

  @ParameterizedTest
  @CsvSource({
    "1,1,1,1,4,4",
    "1,4,4,1,1,1",
    "1,4,2,1,4,4",
    "1,2,1,1,4,2",
    "1,4,1,1,2,2",
    "1,4,4,1,4,4",
    "2,2,2,1,1,1",
    "1,1,1,2,2,2",
    "4,2,1,2,2,2",
    "2,4,2,4,1,1"
  })
  void everyNumberArrives(
      int stages, int data, int expert, int otherStages, int otherData, int otherExpert)
      throws Exception {
    Map<String, Integer> written = new ConcurrentHashMap<>();
    Mesh writer = new Mesh(stages, data, expert, stages * data);
    Fabric fabric = Fabric.local(writer.world());
    fabric.run(
        rank -> {
          Fabric.Groups groups = fabric.groups(writer, rank);
          Model model = model(groups);
          model.initialize(5);
          model.buffers().forEach(MeshChangeTest::number);
          Optimizer optimizer = optimizer(model, groups);
          optimizer.state().forEach(MeshChangeTest::number);
          written.putAll(hashes(model, optimizer));
          SequencedMap<String, Tensor> weights = new LinkedHashMap<>();
          for (Parameter p : model.parameters()) {
            boolean dense = p.sharing() == Parameter.Sharing.DENSE;
            if (dense ? rank % data == 0 : rank % data < expert) {
              weights.put(p.name(), p.value());
            }
          }
          if (rank % data == 0) {
            weights.putAll(model.buffers());
          }
          TrainerState state = new TrainerState(1, 1, 1, 1, 2, 2, writer, null);
          return store()
              .save(
                  new Contribution(
                      weights,
                      rank / data * expert + rank % expert,
                      stages * expert,
                      optimizer.state()),
                  state,
                  new HfConfig(MODEL, 0, 1),
                  groups.world());
        });
    Map<String, Integer> read = new ConcurrentHashMap<>();
    Mesh reader = new Mesh(otherStages, otherData, otherExpert, otherStages * otherData);
    Fabric other = Fabric.local(reader.world());
    other.run(
        rank -> {
          Fabric.Groups groups = other.groups(reader, rank);
          Model model = model(groups);
          CheckpointStore.Durable durable = store().latestDurable().orElseThrow();
          model.load(durable.weights());
          Optimizer optimizer = optimizer(model, groups);
          durable.readOptimizer(optimizer.state());
          read.putAll(hashes(model, optimizer));
          return null;
        });
    assertThat(new TreeMap<>(read)).hasSizeGreaterThan(100).isEqualTo(new TreeMap<>(written));
  }

  private CheckpointStore store() {
    return new CheckpointStore(directory, 1, List.of()::add);
  }

  /** This rank's part; of four stages, embedding and head are alone on theirs. */
  private static Model model(Fabric.Groups groups) {
    StageLayout layout = StageLayout.byCost(MODEL, groups.pipeline().size(), 32);
    return Model.create(
        MODEL, new CpuBackend(), groups.expert(), new StagePlace(layout, groups.pipeline()));
  }

  private static Optimizer optimizer(Model model, Fabric.Groups groups) {
    return new Optimizer(OPTIMIZER, model.parameters(), model.backend(), groups);
  }

  /** Numbers that tell every tensor and every place in it apart. */
  private static void number(String name, Tensor x) {
    for (int i = 0; i < x.size(); i++) {
      x.floats()[x.offset() + i] = name.hashCode() % 1000 + i / 16f;
    }
  }

  private static Map<String, Integer> hashes(Model model, Optimizer optimizer) {
    Map<String, Integer> hashes = new TreeMap<>();
    model.parameters().forEach(p -> hashes.put(p.name(), hash(p.value())));
    model.buffers().forEach((name, x) -> hashes.put(name, hash(x)));
    optimizer.state().forEach((name, x) -> hashes.put(name, hash(x)));
    return hashes;
  }

  private static int hash(Tensor x) {
    float[] values = Arrays.copyOfRange(x.floats(), x.offset(), x.offset() + x.size());
    return Arrays.hashCode(values) * 31 + Arrays.hashCode(x.shape());
  }
}
