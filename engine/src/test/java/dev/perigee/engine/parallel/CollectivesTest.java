package dev.perigee.engine.parallel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Every collective against a plain sequential twin, for ranks as threads and as TCP pods. */
@Timeout(120)
final class CollectivesTest {
  /** Ranks of each pod. */
  static Stream<List<List<Integer>>> layouts() {
    return Stream.of(
        List.of(List.of(0)),
        List.of(List.of(0, 1)),
        List.of(List.of(0, 1, 2)),
        List.of(List.of(0, 1, 2, 3)),
        List.of(List.of(0), List.of(1)),
        List.of(List.of(0), List.of(1, 2)),
        List.of(List.of(0, 1), List.of(2, 3)),
        List.of(List.of(0, 2), List.of(1, 3)),
        List.of(List.of(0), List.of(1), List.of(2)),
        List.of(List.of(0), List.of(1, 2), List.of(3)),
        List.of(List.of(0), List.of(1), List.of(2), List.of(3)),
        List.of(List.of(0, 1), List.of(2, 3), List.of(4)),
        List.of(List.of(0), List.of(1, 2, 3)));
  }

  /** What one rank puts in and gets out of a run of all operations. */
  private record Outcome(List<float[]> tensors, List<double[]> figures, List<int[]> counts) {}

  private static final int ROUNDS = 6;

  @ParameterizedTest
  @MethodSource("layouts")
  void everyOperationAgreesWithItsTwin(List<List<Integer>> layout) throws Exception {
    int world = layout.stream().mapToInt(List::size).sum();
    List<Integer> group = IntStream.range(0, world).boxed().toList();
    List<Outcome> outcomes;
    try (Pods pods = Pods.connect(layout)) {
      outcomes = pods.run((fabric, rank) -> operate(fabric.collectives(rank, group), world));
    }
    for (int rank = 0; rank < world; rank++) {
      compare(outcomes.get(rank), expected(rank, world), "rank " + rank + " of " + layout);
    }
  }

  @Test
  void groupsOfSomeRanksWorkBesideEachOther() throws Exception {
    List<List<Integer>> groups = List.of(List.of(0, 2), List.of(1, 3));
    try (Pods pods = Pods.connect(2, 2)) {
      List<Outcome> outcomes =
          pods.run((fabric, rank) -> operate(fabric.collectives(rank, groups.get(rank % 2)), 2));
      for (int rank = 0; rank < 4; rank++) {
        compare(outcomes.get(rank), expected(rank / 2, 2), "rank " + rank);
      }
    }
  }

  @Test
  void theSameRanksGiveTheSameBitsWhicheverShareAPod() throws Exception {
    List<Integer> group = List.of(0, 1, 2, 3);
    List<float[]> results = new ArrayList<>();
    for (List<List<Integer>> layout :
        List.of(
            List.of(group),
            List.of(List.of(0, 1), List.of(2, 3)),
            List.of(List.of(0, 3), List.of(1, 2)),
            List.of(List.of(0), List.of(1), List.of(2), List.of(3)))) {
      try (Pods pods = Pods.connect(layout)) {
        results.addAll(
            pods.run(
                (fabric, rank) -> {
                  Tensor x = Tensor.of(random(rank, 99, 70_001), 70_001);
                  fabric.collectives(rank, group).allReduceSum(x);
                  return x.floats();
                }));
      }
    }
    for (float[] result : results) {
      assertThat(result).isEqualTo(results.getFirst());
    }
  }

  @ParameterizedTest
  @MethodSource("layouts")
  void rowsThatCrossOnceForEachPairOfPodsArriveAsThoseThatCrossForEachPairOfRanks(
      List<List<Integer>> layout) throws Exception {
    int world = layout.stream().mapToInt(List::size).sum();
    if (world == 1) {
      return; // a rank alone has no group
    }
    List<Integer> group = IntStream.range(0, world).boxed().toList();
    List<List<float[]>> both;
    try (Pods pods = Pods.connect(layout)) {
      both =
          pods.run(
              (fabric, rank) ->
                  List.of(
                      exchangeRows(fabric.group(group, "flat"), rank, /* byPods= */ false),
                      exchangeRows(fabric.group(group, "by pods"), rank, /* byPods= */ true)));
    }
    for (List<float[]> ways : both) {
      assertThat(ways.get(0)).isNotEmpty();
      assertThat(Arrays.equals(ways.get(1), ways.get(0))).isTrue();
    }
  }

  /** Everything that a rank gets in rounds of different sizes; some send nothing, some a lot. */
  private static float[] exchangeRows(Group group, int rank, boolean byPods) {
    Collectives c = new GroupCollectives(group, rank, byPods);
    List<float[]> parts = new ArrayList<>();
    for (int round = 0; round < 8; round++) {
      int width = round % 2 == 0 ? 3 : 5000;
      int[] counts = new int[c.size()];
      int[] coming = new int[c.size()];
      for (int i = 0; i < counts.length; i++) {
        counts[i] = rowsOrNone(round, rank, i) * (round == 7 ? 0 : 1);
        coming[i] = rowsOrNone(round, i, rank) * (round == 7 ? 0 : 1);
      }
      int out = Arrays.stream(counts).sum();
      int in = Arrays.stream(coming).sum();
      // Views that do not begin at the start of their storage.
      Tensor sent = Tensor.of(random(rank, round, (out + 1) * width), out + 1, width);
      Tensor got = Tensor.zeros(in + 1, width);
      c.allToAll(sent.slice(1, out), counts, got.slice(1, in), coming);
      parts.add(got.floats());
    }
    float[] all = new float[parts.stream().mapToInt(p -> p.length).sum()];
    int at = 0;
    for (float[] part : parts) {
      System.arraycopy(part, 0, all, at, part.length);
      at += part.length;
    }
    return all;
  }

  @Test
  void podsOfSeveralRanksExchangeRowsByPods() {
    layouts()
        .forEach(
            layout -> {
              List<Integer> ranks = layout.stream().flatMap(List::stream).sorted().toList();
              int[] podOf = new int[ranks.size()];
              for (int pod = 0; pod < layout.size(); pod++) {
                for (int rank : layout.get(pod)) {
                  podOf[rank] = pod;
                }
              }
              Group group = new Group(ranks, "", podOf, 0, Map.of(), new Alarm());
              assertThat(RowExchange.byPodsIsFewer(group))
                  .as("%s", layout)
                  .isEqualTo(layout.size() > 1 && ranks.size() > layout.size());
            });
  }

  @Test
  void ranksThatCallDifferentOperationsAreToldSo() {
    Fabric fabric = Fabric.local(2);
    List<Integer> group = List.of(0, 1);
    assertThatThrownBy(
            () ->
                fabric.run(
                    rank -> {
                      Collectives c = fabric.collectives(rank, group);
                      if (rank == 0) {
                        c.barrier();
                      } else {
                        c.allReduceSum(Tensor.zeros(3));
                      }
                      return null;
                    }))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("same collectives in the same order")
        .hasMessageContaining("barrier")
        .hasMessageContaining("all-reduce SUM");
  }

  @Test
  void countsThatDoNotAddUpAreRefused() {
    Fabric fabric = Fabric.local(2);
    assertThatThrownBy(
            () ->
                fabric.run(
                    rank -> {
                      Collectives c = fabric.collectives(rank, List.of(0, 1));
                      c.reduceScatterSum(Tensor.zeros(5), new int[] {2, 2});
                      return null;
                    }))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("[2, 2]");
  }

  // One run of all operations, and what it must give.

  private static int size(int round, int world) {
    int[] sizes = {0, 1, 7, 1000, 32 * 1024 + 3, 200_003};
    return sizes[round % sizes.length] + (round == 3 ? world : 0);
  }

  private static float[] random(int rank, int salt, int size) {
    SplittableRandom random = new SplittableRandom(1_000_003L * rank + salt);
    float[] x = new float[size];
    for (int i = 0; i < size; i++) {
      x[i] = (float) (random.nextDouble() * 2 - 1) * (1 << random.nextInt(12));
    }
    return x;
  }

  /** Uneven shares of {@code size}, some empty. */
  private static int[] shares(int size, int world, int salt) {
    SplittableRandom random = new SplittableRandom(salt);
    int[] counts = new int[world];
    int left = size;
    for (int i = 0; i < world - 1; i++) {
      counts[i] = random.nextInt(4) == 0 ? 0 : random.nextInt(left + 1);
      left -= counts[i];
    }
    counts[world - 1] = left;
    return counts;
  }

  private static int rows(int round, int from, int to) {
    return new SplittableRandom(round * 10_007L + from * 101L + to).nextInt(-2, 40);
  }

  private static int rowsOrNone(int round, int from, int to) {
    return Math.max(0, rows(round, from, to));
  }

  private static Outcome operate(Collectives c, int world) {
    Outcome outcome = new Outcome(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
    assertThat(c.size()).isEqualTo(world);
    int rank = c.index();
    for (int round = 0; round < ROUNDS; round++) {
      int size = size(round, world);
      int[] shares = shares(size, world, round);
      int start = Arrays.stream(shares, 0, rank).sum();

      Tensor sum = Tensor.of(random(rank, round, size), size);
      c.allReduceSum(sum);
      outcome.tensors.add(sum.floats());

      Tensor max = Tensor.of(random(rank, round, size), size);
      c.allReduceMax(max);
      outcome.tensors.add(max.floats());

      // A view that does not begin at the start of its storage.
      float[] shifted = new float[size + 5];
      System.arraycopy(random(rank, round, size), 0, shifted, 5, size);
      Tensor scattered = new Tensor(Tensor.of(shifted, size + 5).storage(), 5, size);
      c.reduceScatterSum(scattered, shares);
      outcome.tensors.add(Arrays.copyOfRange(shifted, 5 + start, 5 + start + shares[rank]));

      float[] mine = new float[size];
      System.arraycopy(random(rank, round, size), start, mine, start, shares[rank]);
      Tensor gathered = Tensor.of(mine, size);
      c.allGather(gathered, shares);
      outcome.tensors.add(gathered.floats());

      Tensor whole = Tensor.zeros(3 * world);
      c.allGather(Tensor.of(random(rank, round, 3), 3), whole);
      outcome.tensors.add(whole.floats());

      int root = round % world;
      Tensor sent = Tensor.of(random(rank, round, size), size);
      c.broadcast(sent, root);
      outcome.tensors.add(sent.floats());

      double first = random(rank, round, 1)[0];
      double[] figures = new double[size];
      for (int i = 0; i < size; i++) {
        figures[i] = first / (i + 1);
      }
      c.allReduceSum(figures);
      outcome.figures.add(figures);

      int[] counts = new int[world];
      for (int to = 0; to < world; to++) {
        counts[to] = rowsOrNone(round, rank, to);
      }
      int[] coming = c.allToAllCounts(counts);
      outcome.counts.add(coming);

      int width = 3 + 1000 * (round % 2);
      int out = Arrays.stream(counts).sum();
      int in = Arrays.stream(coming).sum();
      Tensor receive = Tensor.zeros(in, width);
      c.allToAll(Tensor.of(random(rank, round, out * width), out, width), counts, receive, coming);
      outcome.tensors.add(receive.floats());
      c.barrier();
    }
    return outcome;
  }

  private static Outcome expected(int rank, int world) {
    Outcome outcome = new Outcome(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
    for (int round = 0; round < ROUNDS; round++) {
      int size = size(round, world);
      int[] shares = shares(size, world, round);
      int start = Arrays.stream(shares, 0, rank).sum();
      float[][] all = new float[world][];
      for (int r = 0; r < world; r++) {
        all[r] = random(r, round, size);
      }
      float[] sum = new float[size];
      float[] max = new float[size];
      for (int i = 0; i < size; i++) {
        sum[i] = treeSum(all, i, 0, world);
        max[i] = Float.NEGATIVE_INFINITY;
        for (float[] x : all) {
          max[i] = Math.max(max[i], x[i]);
        }
      }
      outcome.tensors.add(sum);
      outcome.tensors.add(max);
      outcome.tensors.add(Arrays.copyOfRange(sum, start, start + shares[rank]));
      float[] gathered = new float[size];
      int at = 0;
      for (int r = 0; r < world; r++) {
        System.arraycopy(all[r], at, gathered, at, shares[r]);
        at += shares[r];
      }
      outcome.tensors.add(gathered);
      float[] whole = new float[3 * world];
      for (int r = 0; r < world; r++) {
        System.arraycopy(random(r, round, 3), 0, whole, 3 * r, 3);
      }
      outcome.tensors.add(whole);
      outcome.tensors.add(all[round % world]);
      double[] firsts = new double[world];
      for (int r = 0; r < world; r++) {
        firsts[r] = random(r, round, 1)[0];
      }
      double[] figures = new double[size];
      for (int i = 0; i < size; i++) {
        figures[i] = figuresSum(firsts, i + 1, 0, world);
      }
      outcome.figures.add(figures);
      int[] coming = new int[world];
      for (int from = 0; from < world; from++) {
        coming[from] = rowsOrNone(round, from, rank);
      }
      outcome.counts.add(coming);
      outcome.tensors.add(rowsReceived(round, rank, world));
    }
    return outcome;
  }

  private static float[] rowsReceived(int round, int rank, int world) {
    int width = 3 + 1000 * (round % 2);
    List<Float> received = new ArrayList<>();
    for (int from = 0; from < world; from++) {
      int out = 0;
      int before = 0;
      for (int to = 0; to < world; to++) {
        before = to == rank ? out : before;
        out += rowsOrNone(round, from, to);
      }
      float[] sent = random(from, round, out * width);
      for (int i = 0; i < rowsOrNone(round, from, rank) * width; i++) {
        received.add(sent[before * width + i]);
      }
    }
    float[] result = new float[received.size()];
    for (int i = 0; i < result.length; i++) {
      result[i] = received.get(i);
    }
    return result;
  }

  /** The promised order: the left part of a tree over n members is the largest full tree. */
  private static float treeSum(float[][] all, int i, int first, int end) {
    if (end - first == 1) {
      return all[first][i];
    }
    int left = 1;
    while (left * 2 < end - first) {
      left *= 2;
    }
    return treeSum(all, i, first, first + left) + treeSum(all, i, first + left, end);
  }

  private static double figuresSum(double[] firsts, int divisor, int first, int end) {
    if (end - first == 1) {
      return firsts[first] / divisor;
    }
    int left = 1;
    while (left * 2 < end - first) {
      left *= 2;
    }
    return figuresSum(firsts, divisor, first, first + left)
        + figuresSum(firsts, divisor, first + left, end);
  }

  private static void compare(Outcome actual, Outcome expected, String who) {
    assertThat(actual.tensors).as(who).hasSameSizeAs(expected.tensors);
    for (int i = 0; i < expected.tensors.size(); i++) {
      assertThat(Arrays.equals(actual.tensors.get(i), expected.tensors.get(i)))
          .as("tensor %d of %s", i, who)
          .isTrue();
    }
    for (int i = 0; i < expected.figures.size(); i++) {
      assertThat(Arrays.equals(actual.figures.get(i), expected.figures.get(i)))
          .as("figures %d of %s", i, who)
          .isTrue();
    }
    for (int i = 0; i < expected.counts.size(); i++) {
      assertThat(actual.counts.get(i)).as(who).isEqualTo(expected.counts.get(i));
    }
  }

  /** Eight ranks' rows for another pod are more numbers than an int counts. */
  @Test
  void rowsOfAllRanksOfAPodMayBeMoreThanOneTensorHolds() {
    RowExchange.Runs rows = new RowExchange.Runs();
    Tensor x = Tensor.zeros(1); // nobody looks at the numbers here
    for (int rank = 0; rank < 8; rank++) {
      rows.add(x, new int[] {0, 1 << 29}, 0);
    }
    assertThat(rows.total()).isEqualTo(8L << 29);
  }
}
