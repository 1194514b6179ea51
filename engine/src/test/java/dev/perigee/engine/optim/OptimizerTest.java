package dev.perigee.engine.optim;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.Pods;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class OptimizerTest {
  private static final RunConfig.Optimizer CONFIG =
      new RunConfig.Optimizer(
          RunConfig.Optimizer.Kind.MuonClip,
          0.1,
          0,
          RunConfig.Optimizer.Muon.DEFAULT,
          RunConfig.Optimizer.AdamW.DEFAULT,
          RunConfig.Optimizer.QkClip.DEFAULT,
          0);
  private static final int STEPS = 3;

  /** Dense matrices and norms, and two experts for each expert-parallel rank. */
  private static List<Parameter> parameters(int expertRanks, int expertIndex) {
    List<Parameter> all = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      all.add(matrix("dense." + i, 6 + i, 11 - i, Parameter.Sharing.DENSE));
      all.add(
          new Parameter(
              "norm." + i,
              MuonTest.gaussian(1, 7, i).view(7),
              Tensor.zeros(7),
              Parameter.Rule.ELEMENTWISE,
              Parameter.Sharing.DENSE));
    }
    int experts = 4 / expertRanks;
    for (int e = expertIndex * experts; e < (expertIndex + 1) * experts; e++) {
      all.add(matrix("expert." + e, 8, 5, Parameter.Sharing.EXPERT));
    }
    return all;
  }

  private static Parameter matrix(String name, int rows, int columns, Parameter.Sharing sharing) {
    return new Parameter(
        name,
        MuonTest.gaussian(rows, columns, name.hashCode()),
        Tensor.zeros(rows, columns),
        Parameter.Rule.MATRIX,
        sharing);
  }

  private static void gradients(List<Parameter> parameters, int share, int step) {
    for (Parameter p : parameters) {
      Tensor g = MuonTest.gaussian(1, p.gradient().size(), p.name().hashCode() + 31L * step);
      for (int i = 0; i < g.size(); i++) {
        // Whole multiples of a power of two: every split of the sum is exact.
        p.gradient().floats()[i] = Math.round(g.floats()[i] * 64) / 64f / share;
      }
    }
  }

  private record Outcome(Map<String, float[]> weights, Map<String, float[]> state, double norm) {}

  private static Outcome train(Fabric fabric, Mesh mesh, int rank, long bucketBytes) {
    Fabric.Groups groups = fabric.groups(mesh, rank);
    List<Parameter> parameters = parameters(mesh.expert(), groups.expert().index());
    CpuBackend backend = new CpuBackend();
    Optimizer optimizer = new Optimizer(CONFIG, parameters, backend, groups, bucketBytes);
    double[] squares = new double[1];
    for (int step = 1; step <= STEPS; step++) {
      // Each rank holds an equal share of each gradient, so that the sums are the same everywhere.
      for (Parameter p : parameters) {
        boolean dense = p.sharing() == Parameter.Sharing.DENSE;
        gradients(List.of(p), dense ? groups.data().size() : groups.replica().size(), step);
      }
      // Ranks need not say the same, nor anything.
      for (int i = parameters.size() - 1; i >= (3 * rank + step) % 7; i--) {
        optimizer.gradientsReady(List.of(parameters.get(i)));
      }
      squares[0] = optimizer.reduceGradients();
      groups.data().allReduceSum(squares);
      optimizer.update(
          step,
          0.02,
          0.5,
          p -> {
            if (p.name().equals("dense.2") || p.name().equals("expert.1")) {
              backend.axpby(0, p.value(), 0.75f, p.value()); // as QK-Clip does
            }
          });
      optimizer.publishWeights();
    }
    Outcome outcome = new Outcome(new TreeMap<>(), new TreeMap<>(), squares[0]);
    parameters.forEach(p -> outcome.weights.put(p.name(), p.value().floats()));
    optimizer.state().forEach((name, t) -> outcome.state.put(name, t.floats()));
    return outcome;
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 700, Optimizer.DEFAULT_BUCKET_BYTES})
  void everyMeshGivesTheWeightsAndTheStateOfASingleRankWhateverABucketHolds(long bucketBytes)
      throws Exception {
    Outcome alone = train(Fabric.local(1), Mesh.SINGLE, 0, Optimizer.DEFAULT_BUCKET_BYTES);
    for (Mesh mesh :
        List.of(
            new Mesh(1, 2, 1, 2),
            new Mesh(1, 4, 1, 4),
            new Mesh(1, 4, 2, 4),
            new Mesh(1, 4, 4, 4),
            new Mesh(1, 4, 2, 2))) {
      List<Outcome> outcomes;
      try (Pods pods = Pods.connect(mesh.pods(), mesh.ranksPerPod())) {
        outcomes = pods.run((fabric, rank) -> train(fabric, mesh, rank, bucketBytes));
      }
      Map<String, float[]> state = new TreeMap<>();
      for (Outcome outcome : outcomes) {
        outcome.weights.forEach(
            (name, w) ->
                assertThat(Arrays.equals(w, alone.weights.get(name)))
                    .as(name + " on " + mesh)
                    .isTrue());
        outcome.state.forEach(
            (name, s) -> assertThat(state.put(name, s)).as(name + " is owned once").isNull());
        assertThat(outcome.norm).isCloseTo(alone.norm, org.assertj.core.data.Offset.offset(1e-9));
      }
      assertThat(state.keySet()).isEqualTo(alone.state.keySet());
      state.forEach(
          (name, s) -> assertThat(Arrays.equals(s, alone.state.get(name))).as(name).isTrue());
    }
  }

  @Test
  void smallBucketsTakeLessMemoryBesideTheParameters() {
    Fabric fabric = Fabric.local(2);
    Fabric.Groups groups = fabric.groups(new Mesh(1, 2, 1, 2), 0);
    List<Parameter> parameters = parameters(1, 0);
    long dense = 4L * parameters.subList(0, 10).stream().mapToInt(p -> p.value().size()).sum();
    assertThat(new Optimizer(CONFIG, parameters, new CpuBackend(), groups).exchangeBytes())
        .isEqualTo(dense);
    assertThat(new Optimizer(CONFIG, parameters, new CpuBackend(), groups, 700).exchangeBytes())
        .isLessThanOrEqualTo(700);
    // A parameter is never split.
    assertThat(new Optimizer(CONFIG, parameters, new CpuBackend(), groups, 1).exchangeBytes())
        .isEqualTo(4 * 8 * 9);
  }

  @Test
  void gradientsThatAreReadyAreExchangedWhileBackwardGoesOn() throws Exception {
    Fabric fabric = Fabric.local(2);
    Mesh mesh = new Mesh(1, 2, 1, 2);
    CountDownLatch exchanged = new CountDownLatch(2);
    fabric.run(
        rank -> {
          Fabric.Groups groups = fabric.groups(mesh, rank);
          List<Parameter> parameters = parameters(1, 0);
          parameters.forEach(p -> Arrays.fill(p.gradient().floats(), rank + 1));
          Optimizer optimizer = new Optimizer(CONFIG, parameters, new CpuBackend(), groups, 1);
          optimizer.gradientsReady(List.of(parameters.getLast()));
          // Nobody waits for the optimizer, yet one of the two owners gets the sum.
          long deadline = System.nanoTime() + 20_000_000_000L;
          while (exchanged.getCount() > 1 && System.nanoTime() < deadline) {
            if (parameters.getLast().gradient().floats()[0] == 3) {
              exchanged.countDown();
            }
            Thread.sleep(1);
          }
          assertThat(exchanged.getCount()).isEqualTo(1);
          assertThat(parameters.getFirst().gradient().floats()[0]).isEqualTo(rank + 1);
          optimizer.reduceGradients();
          assertThatThrownBy(
                  () -> {
                    optimizer.gradientsReady(List.of(parameters.getLast()));
                    optimizer.gradientsReady(List.of(parameters.getLast()));
                  })
              .isInstanceOf(IllegalStateException.class)
              .hasMessageContaining("expert.3 is ready twice");
          return null;
        });
  }

  @Test
  void theCostliestMatricesAreSharedOutEvenly() {
    List<Parameter> parameters = new ArrayList<>();
    for (int size : new int[] {64, 32, 32, 32, 8, 8}) {
      parameters.add(matrix("m" + parameters.size(), size, size, Parameter.Sharing.DENSE));
    }
    List<List<Parameter>> owned = Ownership.assign(parameters, 2, CONFIG);
    assertThat(owned.get(0)).containsExactly(parameters.get(0));
    assertThat(owned.get(1)).containsExactlyElementsOf(parameters.subList(1, 6));
  }

  @Test
  void aBiasRisesForAnIdleExpertAndFallsForABusyOne() {
    Tensor bias = Tensor.of(new float[] {0, 0, 0, 0.5f}, 4);
    RouterBalance.update(bias, new long[] {10, 4, 2, 0}, 0.25);
    assertThat(bias.floats()).containsExactly(-0.25f, 0, 0.25f, 0.75f);
  }
}
