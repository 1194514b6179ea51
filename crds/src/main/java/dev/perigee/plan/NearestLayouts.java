package dev.perigee.plan;

import dev.perigee.run.Mesh;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;

/** Layouts that would work, nearest first, for one that does not. */
public final class NearestLayouts {
  private static final int NAMED = 3;
  private static final int WIDEST = 4096;

  /** Far enough to find something, and over in a blink. */
  private static final int TRIED = 4000;

  /** The same for models of many layers: each try goes through all of them. */
  private static final int TRIED_LAYERS = 64 * TRIED;

  private NearestLayouts() {}

  /** What a layout is chosen by. */
  private record Candidate(int pipeline, int virtualStages, int data, int expert, int ranksPerPod) {
    int chunks() {
      return pipeline * virtualStages;
    }
  }

  /**
   * One line with the nearest layouts; empty when the asked one works or nothing is near.
   *
   * @param asked the mesh that was asked for, with all its problems
   * @param virtualStages that were asked for
   * @param hardware of which the weights and the optimizer's state must not fill more than there is
   */
  public static List<String> hints(
      Workload workload, Mesh asked, int virtualStages, Hardware hardware) {
    if (asked.pipeline() < 1 || asked.data() < 1 || asked.expert() < 1 || asked.ranksPerPod() < 1) {
      return List.of();
    }
    if (workload.sequenceLength() < 1 || virtualStages < 1) {
      return List.of();
    }
    Candidate wish =
        new Candidate(
            asked.pipeline(), virtualStages, asked.data(), asked.expert(), asked.ranksPerPod());
    Map<Integer, StageLayout> dealt = new HashMap<>();
    if (works(workload, wish, hardware, dealt)) {
      return List.of();
    }
    int layers = workload.model() == null ? 1 : Math.max(1, workload.model().numHiddenLayers());
    List<Candidate> near =
        candidates(workload, wish).stream()
            .sorted(Comparator.comparingDouble(c -> distance(c, wish)))
            .limit(Math.min(TRIED, TRIED_LAYERS / layers))
            .filter(c -> works(workload, c, hardware, dealt))
            .limit(NAMED)
            .toList();
    return near.isEmpty()
        ? List.of()
        : List.of(
            "parallelism: the nearest layouts that work: "
                + near.stream()
                    .map(c -> text(c, asked.pipeline() > 1))
                    .collect(Collectors.joining("; ")));
  }

  private static List<Candidate> candidates(Workload workload, Candidate asked) {
    int layers = workload.model() == null ? 1 : workload.model().numHiddenLayers();
    int experts = workload.model() == null ? 0 : workload.model().nRoutedExperts();
    TreeSet<Integer> pipelines = new TreeSet<>(around(asked.pipeline));
    TreeSet<Integer> virtuals = new TreeSet<>(List.of(1, asked.virtualStages));
    List<Candidate> found = new ArrayList<>();
    for (int data = 1; data <= Math.min(WIDEST, 2 * asked.data); data++) {
      if (workload.sequences() % data != 0) {
        continue;
      }
      for (int expert : divisors(data)) {
        if (experts > 0 ? experts % expert != 0 : expert > 1) {
          continue;
        }
        for (int pipeline : pipelines) {
          for (int virtual : virtuals) {
            if (pipeline * virtual <= StageLayout.mostChunks(layers)) {
              int world = pipeline * data;
              int perPod = nearestDivisor(world, asked.ranksPerPod);
              found.add(new Candidate(pipeline, virtual, data, expert, perPod));
            }
          }
        }
      }
    }
    return found;
  }

  /** Itself, and down and up in halves and doubles. */
  private static List<Integer> around(int n) {
    List<Integer> found = new ArrayList<>(List.of(n, n + 1));
    for (int smaller = n / 2; smaller >= 1; smaller /= 2) {
      found.add(smaller);
    }
    for (int larger = 2 * n; larger <= 8 * n; larger *= 2) {
      found.add(larger);
    }
    return found;
  }

  /**
   * Whether one works.
   *
   * @param dealt layers dealt out to so many chunks, as found before
   */
  private static boolean works(
      Workload workload, Candidate c, Hardware hardware, Map<Integer, StageLayout> dealt) {
    Mesh mesh = new Mesh(c.pipeline, c.data, c.expert, c.ranksPerPod);
    if (workload.model() == null) {
      return mesh.problems(-1).isEmpty();
    }
    int layers = workload.model().numHiddenLayers();
    if (!workload.model().problems().isEmpty() || c.chunks() > StageLayout.mostChunks(layers)) {
      return false;
    }
    Layout layout =
        new Layout(
            mesh,
            dealt.computeIfAbsent(
                c.chunks(),
                chunks -> StageLayout.byCost(workload.model(), chunks, workload.sequenceLength())),
            c.virtualStages,
            1,
            false,
            false,
            false);
    return layout.problems(workload).isEmpty() && tooLarge(workload, layout, hardware).isEmpty();
  }

  /**
   * One line when weights, gradients and the optimizer's state alone need more memory than a rank
   * has. Activations are left out: how many there are is estimated, and these are known.
   */
  public static List<String> tooLarge(Workload workload, Layout layout, Hardware hardware) {
    if (hardware.memoryBytes() == null) {
      return List.of();
    }
    for (int stage = 0; stage < layout.mesh().pipeline(); stage++) {
      long bytes = RankMemory.certain(workload, layout, hardware.precision(), stage);
      if (bytes > hardware.memoryBytes()) {
        return List.of(
            ("parallelism: weights, gradients and optimizer state need %s on a rank of stage %d,"
                    + " which has %s")
                .formatted(Figures.bytes(bytes), stage, Figures.bytes(hardware.memoryBytes())));
      }
    }
    return List.of();
  }

  /** How far apart two layouts are, in doublings; ranks weigh most, then expert groups. */
  private static double distance(Candidate a, Candidate b) {
    return 4 * doublings(a.data, b.data)
        + 4 * doublings(a.pipeline, b.pipeline)
        + 2 * doublings(a.expert, b.expert)
        + 2 * doublings(a.virtualStages, b.virtualStages)
        + doublings(a.ranksPerPod, b.ranksPerPod);
  }

  private static double doublings(int a, int b) {
    return Math.abs(Math.log((double) a / b));
  }

  private static String text(Candidate c, boolean withPipeline) {
    return (withPipeline || c.pipeline > 1 ? "pipeline " + c.pipeline + ", " : "")
        + (c.virtualStages > 1 ? "virtualStages " + c.virtualStages + ", " : "")
        + "data "
        + c.data
        + ", expert "
        + c.expert
        + ", ranksPerPod "
        + c.ranksPerPod;
  }

  private static int nearestDivisor(int n, int wish) {
    return divisors(n).stream().min(Comparator.comparingDouble(d -> doublings(d, wish))).orElse(1);
  }

  private static List<Integer> divisors(int n) {
    TreeSet<Integer> found = new TreeSet<>();
    for (int d = 1; (long) d * d <= n; d++) {
      if (n % d == 0) {
        found.add(d);
        found.add(n / d);
      }
    }
    return List.copyOf(found);
  }
}
