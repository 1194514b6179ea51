package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.run.Mesh;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import dev.perigee.run.RunConfig;
import java.time.Duration;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Layouts that the planner finds by itself. */
class LayoutsTest {
  private static final Hardware H100 =
      new Hardware.Gpus(Gpu.find("H100").orElseThrow(), 8, Hardware.Precision.BF16);

  private static Workload workload(String preset, long batchTokens) {
    return new Workload(
        ModelPresets.find(preset).orElseThrow(),
        4096,
        batchTokens,
        5,
        new RunConfig.Memory(EnumSet.allOf(RunConfig.Memory.Recompute.class), Set.of(), false, 32));
  }

  private static Layout layout(Workload w, int pipeline, int data, int expert) {
    return new Layout(
        new Mesh(pipeline, data, expert, 8),
        StageLayout.byCost(w.model(), pipeline, 4096),
        1,
        1,
        true,
        false,
        false);
  }

  @ParameterizedTest
  @CsvSource({"moonlight-16b-a3b, 16", "moonlight-16b-a3b, 64", "deepseek-v3, 1024"})
  void theBestLayoutsFitAndAreSortedByTheirStep(String preset, int ranks) {
    Workload w = workload(preset, 1L << 24);

    List<LayoutSearch.Found> best =
        LayoutSearch.best(ranks, w, layout(w, 1, 8, 1), H100, Calibration.DEFAULT, 5);

    assertThat(best).isNotEmpty();
    assertThat(best)
        .allSatisfy(
            found -> {
              assertThat(found.plan().fits()).isTrue();
              assertThat(found.layout().mesh().world()).isEqualTo(ranks);
              assertThat(found.layout().problems(w)).isEmpty();
            });
    assertThat(best)
        .isSortedAccordingTo(
            Comparator.comparingDouble(found -> found.plan().timing().seconds().step()));
    assertThat(LayoutSearch.best(ranks, w, layout(w, 1, 8, 1), H100, Calibration.DEFAULT, 5))
        .isEqualTo(best);
  }

  @Test
  void aNumberOfRanksThatTheBatchDoesNotDivideOverHasNoLayout() {
    Workload w = workload("quickstart", 8 * 4096);
    assertThat(LayoutSearch.best(7, w, layout(w, 1, 8, 1), H100, Calibration.DEFAULT, 5)).isEmpty();
  }

  /** An operator looks at such a manifest again and again, beside all others. */
  @Test
  void aModelOfAllTheLayersThatAreAllowedIsJudgedInTime() {
    ObjectNode tree = new ObjectMapper().valueToTree(ModelPresets.find("kimi-k2").orElseThrow());
    ModelConfig deep =
        new ObjectMapper().convertValue(tree.put("numHiddenLayers", 10_000), ModelConfig.class);
    Workload w = new Workload(deep, 4096, 1L << 26, 5, workload("kimi-k2", 1L << 26).memory());
    assertTimeoutPreemptively(
        Duration.ofSeconds(60),
        () -> {
          NearestLayouts.hints(w, new Mesh(64, 256, 256, 8), 1, H100);
          assertThat(StageLayout.byCost(deep, 1024, 4096).problems(1024, 10_000)).isEmpty();
        });
  }

  @Test
  void weightsThatFillMoreThanAGpuAreRefusedWithLayoutsThatHoldThem() {
    Workload w = workload("kimi-k2", 1L << 26);
    Layout tooSmall = layout(w, 8, 16, 16);

    assertThat(NearestLayouts.tooLarge(w, tooSmall, H100))
        .singleElement()
        .asString()
        .startsWith("parallelism: weights, gradients and optimizer state need 1")
        .endsWith("which has 85.5 GB");
    String hint = NearestLayouts.hints(w, tooSmall.mesh(), 1, H100).getFirst();
    assertThat(hint).startsWith("parallelism: the nearest layouts that work: pipeline ");
    assertThat(hint.split(";")).hasSize(3);
    assertThat(NearestLayouts.hints(w, new Mesh(16, 64, 32, 8), 1, H100)).isEmpty();
  }

  @Test
  void moreStagesThanLayersAreAnsweredWithFewer() {
    Workload w = workload("quickstart", 64 * 4096);
    assertThat(NearestLayouts.hints(w, new Mesh(8, 4, 4, 8), 1, new Hardware.Cpu(null, 8)))
        .singleElement()
        .asString()
        .startsWith("parallelism: the nearest layouts that work: pipeline 4, data 4, expert 4,");
  }

  @Test
  void withoutSpeedsThereIsABubbleButNoTime() {
    Workload w = workload("quickstart", 64 * 4096);
    Plan plan = Plan.of(w, layout(w, 2, 4, 4), new Hardware.Cpu(null, 8), Calibration.DEFAULT);
    assertThat(plan.timing().seconds()).isNull();
    assertThat(plan.timing().bubbleShare()).isBetween(0.0, 0.5);
    assertThat(plan.text()).contains("unknown: the speed of the ranks is not known");
  }

  /** Kimi K2's report cuts the model as no cost would, and its cut is the one that fits. */
  @Test
  void whatWasAskedForIsAmongTheLayoutsThatAreSearched() {
    Workload w = workload("moonlight-16b-a3b", 3L << 22);
    List<Integer> uneven = List.of(6, 7, 7, 7);
    Layout asked =
        new Layout(new Mesh(4, 4, 4, 8), new StageLayout(uneven), 1, 3, true, false, false);

    List<LayoutSearch.Found> all =
        LayoutSearch.best(16, w, asked, H100, Calibration.DEFAULT, Integer.MAX_VALUE);

    assertThat(all).extracting(LayoutSearch.Found::layout).contains(asked);
    assertThat(all)
        .filteredOn(found -> found.layout().stages().chunks() == 4)
        .isNotEmpty()
        .allSatisfy(found -> assertThat(found.layout().stages().layers()).isEqualTo(uneven));
  }

  @Test
  void aModelWithTiedEmbeddingsIsNotCutIntoStages() {
    ModelConfig tied = tied(ModelPresets.find("quickstart").orElseThrow());
    Workload w = new Workload(tied, 128, 64 * 128, 5, RunConfig.Memory.DEFAULT);

    List<LayoutSearch.Found> best =
        LayoutSearch.best(8, w, layout(w, 1, 8, 1), H100, Calibration.DEFAULT, 100);

    assertThat(best)
        .isNotEmpty()
        .allSatisfy(found -> assertThat(found.layout().mesh().pipeline()).isEqualTo(1));
    assertThat(layout(w, 2, 8, 1).problems(w))
        .singleElement()
        .asString()
        .startsWith("parallelism.pipeline: 2 stages for a model with tieWordEmbeddings");
  }

  private static ModelConfig tied(ModelConfig c) {
    ObjectNode json = new ObjectMapper().valueToTree(c);
    return new ObjectMapper().convertValue(json.put("tieWordEmbeddings", true), ModelConfig.class);
  }

  @Test
  void oneStageHasNoBubbleNotEvenLessThanNone() {
    for (int microBatch = 1; microBatch <= 64; microBatch *= 2) {
      Workload w = workload("moonlight-16b-a3b", 64 * 8 * 4096);
      Layout layout =
          new Layout(
              new Mesh(1, 8, 8, 8),
              StageLayout.whole(w.model()),
              1,
              microBatch,
              false,
              false,
              false);
      assertThat(Plan.of(w, layout, H100, Calibration.DEFAULT).text())
          .contains("bubble      0.0 %");
    }
  }
}
