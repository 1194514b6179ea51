package dev.perigee.plan;

import dev.perigee.run.Mesh;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Finds the layouts of a workload on a number of ranks that take the shortest step: pipeline,
 * virtual stages, experts' ranks and micro-batch are tried in all combinations, and what was asked
 * for. A bound on the time sorts them; the best by that bound are simulated.
 */
public final class LayoutSearch {
  private static final int MOST_VIRTUAL = 4;
  private static final int LARGEST_MICRO_BATCH = 8;

  /** Layouts that are simulated at most. */
  private static final int SIMULATED = 24;

  private LayoutSearch() {}

  /**
   * A layout with its plan.
   *
   * @param plan which fits when any does
   */
  public record Found(Layout layout, Plan plan) {}

  /** A layout with a bound on the operations of its slowest stage. */
  private record Bounded(Layout layout, double bound) {}

  /**
   * The best layouts, the fastest first; those that do not fit into memory are left out.
   *
   * @param ranks how many there are
   * @param asked what is not searched is taken from here
   * @param count how many to return at most
   */
  public static List<Found> best(
      int ranks,
      Workload workload,
      Layout asked,
      Hardware hardware,
      Calibration calibration,
      int count) {
    List<Bounded> candidates = candidates(ranks, workload, asked);
    candidates.sort(Comparator.comparingDouble(Bounded::bound));
    List<Found> found = new ArrayList<>();
    int simulated = 0;
    for (Bounded candidate : candidates) {
      Layout layout = candidate.layout;
      if (simulated == SIMULATED) {
        break;
      }
      if (!NearestLayouts.tooLarge(workload, layout, hardware).isEmpty()
          || !fits(workload, layout, hardware)) {
        continue;
      }
      found.add(new Found(layout, Plan.of(workload, layout, hardware, calibration)));
      simulated++;
    }
    found.sort(
        Comparator.<Found>comparingDouble(f -> seconds(f.plan))
            .thenComparingDouble(f -> f.plan.traffic().bytes()));
    return found.subList(0, Math.min(count, found.size()));
  }

  /** Without speeds, the bubble decides. */
  private static double seconds(Plan plan) {
    Timing timing = plan.timing();
    return timing.seconds() == null ? timing.bubbleShare() : timing.seconds().step();
  }

  private static boolean fits(Workload workload, Layout layout, Hardware hardware) {
    return hardware.memoryBytes() == null
        || RankMemory.fullest(Plan.memory(workload, layout, hardware)).total()
            <= hardware.memoryBytes();
  }

  private static List<Bounded> candidates(int ranks, Workload workload, Layout asked) {
    int layers = workload.model().numHiddenLayers();
    int experts = workload.model().nRoutedExperts();
    Map<Integer, StageLayout> byChunks = new HashMap<>();
    byChunks.put(asked.stages().chunks(), asked.stages());
    List<Bounded> found = new ArrayList<>();
    for (int pipeline = 1;
        pipeline <= Math.min(ranks, StageLayout.mostChunks(layers));
        pipeline++) {
      if (ranks % pipeline != 0) {
        continue;
      }
      int data = ranks / pipeline;
      for (int virtual = 1; virtual <= (pipeline == 1 ? 1 : MOST_VIRTUAL); virtual++) {
        int chunks = pipeline * virtual;
        if (chunks > StageLayout.mostChunks(layers)) {
          continue;
        }
        StageLayout stages =
            byChunks.computeIfAbsent(
                chunks, n -> StageLayout.byCost(workload.model(), n, workload.sequenceLength()));
        for (int expert = 1; expert <= Math.max(1, Math.min(data, experts)); expert++) {
          if (data % expert != 0 || (experts > 0 && experts % expert != 0)) {
            continue;
          }
          for (int microBatch = 1; microBatch <= LARGEST_MICRO_BATCH; microBatch *= 2) {
            int perPod = gcd(ranks, asked.mesh().ranksPerPod());
            Layout layout =
                new Layout(
                    new Mesh(pipeline, data, expert, perPod),
                    stages,
                    virtual,
                    microBatch,
                    expert > 1 && asked.expertOverlap(),
                    pipeline > 1 && asked.splitWeightGradient(),
                    asked.offload());
            if (layout.problems(workload).isEmpty()) {
              found.add(new Bounded(layout, bound(workload, layout)));
            }
          }
        }
      }
    }
    if (asked.mesh().world() == ranks && asked.problems(workload).isEmpty()) {
      found.removeIf(candidate -> candidate.layout.equals(asked));
      found.add(new Bounded(asked, 0)); // simulated whatever its bound
    }
    return found;
  }

  /** Operations of the slowest stage: all micro-batches and the warm-up, plus what experts add. */
  private static double bound(Workload w, Layout layout) {
    int stages = layout.mesh().pipeline();
    double[] ofStage = new double[stages];
    StageLayout chunks = layout.stages();
    for (int chunk = 0; chunk < chunks.chunks(); chunk++) {
      for (int i = 0; i < chunks.layers().get(chunk); i++) {
        ofStage[chunk % stages] +=
            FlopCount.layer(w.model(), chunks.firstLayer(chunk) + i, w.sequenceLength()).forward();
      }
      if (chunk == chunks.chunks() - 1) {
        ofStage[chunk % stages] += FlopCount.head(w.model()).forward();
      }
    }
    double dearest = 0;
    for (double flops : ofStage) {
      dearest = Math.max(dearest, flops);
    }
    double microBatches = layout.microBatches(w) + (stages - 1.0) / layout.virtualStages();
    // More ranks share the experts, more rows travel: a tie is broken for fewer.
    return microBatches
        * layout.microBatch()
        * dearest
        * (1 + 1e-3 * Math.log(layout.mesh().expert()));
  }

  private static int gcd(int a, int b) {
    return b == 0 ? a : gcd(b, a % b);
  }
}
