package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class StageLayoutTest {
  private static final ModelConfig K2 = ModelPresets.find("kimi-k2").orElseThrow();
  private static final ModelConfig QUICKSTART = ModelPresets.find("quickstart").orElseThrow();

  @Test
  void kimiK2OverSixteenStagesHasFourLayersOnEachAndRoomForTheHead() {
    StageLayout layout = StageLayout.byCost(K2, 16, 4096);
    // The head costs as much as two layers.
    assertThat(layout.layers().subList(0, 15)).allMatch(n -> n == 4);
    assertThat(layout.layers().getLast()).isEqualTo(1);
    assertThat(layout.problems(16, 61)).isEmpty();
  }

  @Test
  void kimiK2OverTwoVirtualStagesEachHasTwoLayersInAlmostEveryChunk() {
    StageLayout layout = StageLayout.byCost(K2, 32, 4096);
    assertThat(layout.layers()).allMatch(n -> n <= 2);
    List<Integer> experts = new ArrayList<>(layout.layers());
    experts.set(0, experts.getFirst() - 1); // layer 0 is dense
    assertThat(layout.expertLayers(K2)).isEqualTo(experts);
  }

  @Test
  void noLayoutHasACheaperDearestChunk() {
    double chosen = dearest(StageLayout.byCost(K2, 4, 4096));
    int layers = K2.numHiddenLayers();
    for (int a = 0; a <= layers; a++) {
      for (int b = 1; a + b < layers; b++) {
        for (int c = 1; a + b + c <= layers; c++) {
          StageLayout other = new StageLayout(List.of(a, b, c, layers - a - b - c));
          assertThat(dearest(other)).isGreaterThanOrEqualTo(chosen);
        }
      }
    }
  }

  /** Layouts stand in checkpoints' plans and rank maps: looking at fewer changes none. */
  @ParameterizedTest
  @ValueSource(strings = {"quickstart", "kimi-k2", "deepseek-v3"})
  void whatIsNotLookedAtIsNeverBetter(String preset) {
    ModelConfig model = ModelPresets.find(preset).orElseThrow();
    for (int chunks = 1; chunks <= StageLayout.mostChunks(model.numHiddenLayers()); chunks++) {
      for (int length : new int[] {2, 4096, 131072}) {
        assertThat(StageLayout.byCost(model, chunks, length).layers())
            .as("%d chunks, %d tokens", chunks, length)
            .isEqualTo(plainly(model, chunks, length));
      }
    }
  }

  /** The same by looking at every cut. */
  private static List<Integer> plainly(ModelConfig model, int chunks, int length) {
    int layers = model.numHiddenLayers();
    double[] upTo = new double[layers + 1];
    for (int i = 0; i < layers; i++) {
      upTo[i + 1] = upTo[i] + FlopCount.layer(model, i, length).forward();
    }
    double head = FlopCount.head(model).forward();
    double[][][] best = new double[chunks + 1][layers + 1][];
    int[][] before = new int[chunks + 1][layers + 1];
    best[0][0] = new double[] {0, 0};
    for (int c = 1; c <= chunks; c++) {
      boolean mayBeEmpty = c == 1 || c == chunks;
      for (int n = 0; n <= layers; n++) {
        for (int from = 0; from <= (mayBeEmpty ? n : n - 1); from++) {
          if (best[c - 1][from] != null) {
            double own = upTo[n] - upTo[from] + (c == chunks ? head : 0);
            double[] cost = {Math.max(best[c - 1][from][0], own), best[c - 1][from][1] + own * own};
            if (best[c][n] == null || Arrays.compare(cost, best[c][n]) < 0) {
              best[c][n] = cost;
              before[c][n] = from;
            }
          }
        }
      }
    }
    List<Integer> found = new ArrayList<>();
    int end = layers;
    for (int c = chunks; c >= 1; c--) {
      found.addFirst(end - before[c][end]);
      end = before[c][end];
    }
    return found;
  }

  private static double dearest(StageLayout layout) {
    double dearest = 0;
    for (int chunk = 0; chunk < layout.chunks(); chunk++) {
      double cost = chunk == layout.chunks() - 1 ? FlopCount.head(K2).forward() : 0;
      for (int i = 0; i < layout.layers().get(chunk); i++) {
        cost += FlopCount.layer(K2, layout.firstLayer(chunk) + i, 4096).forward();
      }
      dearest = Math.max(dearest, cost);
    }
    return dearest;
  }

  @Test
  void embeddingAndHeadStandAloneWhereThereAreMoreChunksThanLayers() {
    StageLayout layout = StageLayout.byCost(QUICKSTART, 4, 128);
    assertThat(layout.layers()).containsExactly(0, 1, 1, 0);
    assertThat(layout).hasToString("embedding | 0 | 1 | head");
    assertThat(layout.chunkOf(0)).isEqualTo(1);
    assertThat(layout.chunkOf(1)).isEqualTo(2);
  }

  @Test
  void moreChunksThanThereAreThingsToPutIntoThemAreRefused() {
    assertThatThrownBy(() -> StageLayout.byCost(QUICKSTART, 5, 128))
        .hasMessage(
            "parallelism: pipeline × virtualStages = 5 chunks for a model of 2 layers; use at most 4,"
                + " where embedding and head stand alone");
  }

  @Test
  void aLayoutByHandIsCheckedLineByLine() {
    assertThat(new StageLayout(List.of(1, 0, 2)).problems(4, 5))
        .containsExactly(
            "parallelism.layout: 3 entries; expected one for each of the pipeline × virtualStages ="
                + " 4 chunks",
            "parallelism.layout[1]: 0 layers; expected at least 1",
            "parallelism.layout: [1, 0, 2] are 3 layers; the model has 5");
    assertThat(new StageLayout(Collections.nCopies(4, 1)).problems(4, 4)).isEmpty();
  }
}
