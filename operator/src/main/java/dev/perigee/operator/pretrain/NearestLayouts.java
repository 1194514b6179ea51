package dev.perigee.operator.pretrain;

import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Collectors;

/** Layouts that would work, nearest first, for one that does not. */
final class NearestLayouts {
  private static final int NAMED = 3;
  private static final int WIDEST = 4096;

  private NearestLayouts() {}

  /** One line with the nearest layouts; none when the asked one works or nothing is near. */
  static List<String> hints(RunConfig run) {
    Mesh asked = run.mesh();
    if (asked.data() < 1 || asked.expert() < 1 || asked.ranksPerPod() < 1) {
      return List.of();
    }
    int experts = experts(run);
    if (fits(asked, experts, run)) {
      return List.of();
    }
    List<Mesh> near =
        candidates(asked, experts, run).stream()
            .sorted(Comparator.comparingDouble(mesh -> distance(mesh, asked)))
            .limit(NAMED)
            .toList();
    return near.isEmpty()
        ? List.of()
        : List.of(
            "parallelism: the nearest layouts that work: "
                + near.stream().map(NearestLayouts::text).collect(Collectors.joining("; ")));
  }

  private static List<Mesh> candidates(Mesh asked, int experts, RunConfig run) {
    List<Mesh> found = new ArrayList<>();
    int widest = Math.min(WIDEST, 2 * asked.data());
    for (int data = 1; data <= widest; data++) {
      for (int expert : divisors(data)) {
        for (int ranksPerPod : divisors(data)) {
          Mesh mesh = new Mesh(asked.pipeline(), data, expert, ranksPerPod);
          if (fits(mesh, experts, run)) {
            found.add(mesh);
          }
        }
      }
    }
    return found;
  }

  private static boolean fits(Mesh mesh, int experts, RunConfig run) {
    return mesh.problems(experts).isEmpty()
        && run.sequenceLength() > 0
        && run.batchTokens() % ((long) run.sequenceLength() * mesh.data()) == 0;
  }

  private static int experts(RunConfig run) {
    return run.model().config() == null ? -1 : run.model().config().nRoutedExperts();
  }

  /** How far apart two layouts are, in doublings; ranks weigh most, then expert groups. */
  private static double distance(Mesh a, Mesh b) {
    return 4 * doublings(a.data(), b.data())
        + 2 * doublings(a.expert(), b.expert())
        + doublings(a.ranksPerPod(), b.ranksPerPod());
  }

  private static double doublings(int a, int b) {
    return Math.abs(Math.log((double) a / b));
  }

  private static String text(Mesh mesh) {
    return "data "
        + mesh.data()
        + ", expert "
        + mesh.expert()
        + ", ranksPerPod "
        + mesh.ranksPerPod();
  }

  private static List<Integer> divisors(int n) {
    List<Integer> found = new ArrayList<>();
    for (int d = 1; d <= n; d++) {
      if (n % d == 0) {
        found.add(d);
      }
    }
    return found;
  }
}
