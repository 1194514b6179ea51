package dev.perigee.trainer;

import dev.perigee.engine.data.Fingerprint;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.run.ExitCode;
import dev.perigee.run.RankMap;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * The pods of a gang agree that they have read the same data. One path may hold different files on
 * two nodes, or files that were changed between two reads; each rank would then train on text of
 * its own, and nobody would notice.
 */
final class SameData {
  /** Of a fingerprint: files, bytes and digest, each exact as a double. */
  private static final int FIGURES = 3;

  /** More pods than this with the same data are counted. */
  private static final int NAMED = 4;

  private SameData() {}

  /**
   * Collective, called once by each pod before its ranks start.
   *
   * @param mine what this pod has read, for the same parts in the same order as every other pod
   * @throws TrainerException {@code BAD_CONFIG} on every pod when they differ: no start of the gang
   *     would find other files
   */
  static void agree(Fabric fabric, RankMap map, List<Fingerprint> mine) throws TrainerException {
    if (map.pods().size() == 1 || mine.isEmpty()) {
      return;
    }
    List<Integer> speakers = map.pods().stream().map(pod -> pod.ranks().getFirst()).toList();
    Collectives pods = fabric.collectives(fabric.ranks().getFirst(), speakers, "data");
    // Each pod fills its own part and leaves the others' 0, so the sum is what everybody has.
    double[] figures = new double[speakers.size() * mine.size() * FIGURES];
    int at = fabric.pod() * mine.size() * FIGURES;
    for (Fingerprint f : mine) {
      figures[at++] = f.files();
      figures[at++] = f.bytes();
      figures[at++] = f.digest();
    }
    pods.allReduceSum(figures);
    List<List<Fingerprint>> all = new ArrayList<>();
    at = 0;
    for (int pod = 0; pod < speakers.size(); pod++) {
      List<Fingerprint> read = new ArrayList<>();
      for (Fingerprint f : mine) {
        read.add(
            new Fingerprint(
                f.part(),
                f.path(),
                (int) figures[at++],
                (long) figures[at++],
                (long) figures[at++]));
      }
      all.add(read);
    }
    List<String> differences = differences(map, all);
    if (differences.isEmpty()) {
      return;
    }
    awaitThatAllKnow(pods);
    throw new TrainerException(ExitCode.BAD_CONFIG, String.join("; ", differences));
  }

  /** The first pod to end takes the others along: those must have seen why by then. */
  private static void awaitThatAllKnow(Collectives pods) {
    try {
      pods.barrier();
    } catch (LostPeerException _) {
      // A peer knew before this pod did, and has ended; the reason is the same.
    }
  }

  /**
   * Who has read what, one line for each part of the data in which pods differ.
   *
   * @param all by pod, what it has read
   */
  static List<String> differences(RankMap map, List<List<Fingerprint>> all) {
    List<String> found = new ArrayList<>();
    List<Fingerprint> first = all.getFirst();
    for (int part = 0; part < first.size(); part++) {
      Map<Fingerprint, List<RankMap.Pod>> podsByRead = new LinkedHashMap<>();
      for (RankMap.Pod pod : map.pods()) {
        podsByRead.computeIfAbsent(all.get(pod.index()).get(part), _ -> new ArrayList<>()).add(pod);
      }
      if (podsByRead.size() > 1) {
        found.add(
            "%s: pods of this job found different files at %s: %s; give all pods the same files,"
                    .formatted(first.get(part).part(), first.get(part).path(), who(podsByRead))
                + " for example on a volume that all nodes mount, and do not change them while a"
                + " job runs");
      }
    }
    return found;
  }

  private static String who(Map<Fingerprint, List<RankMap.Pod>> podsByRead) {
    return podsByRead.entrySet().stream()
        .map(e -> names(e.getValue()) + " read " + e.getKey())
        .collect(Collectors.joining(", "));
  }

  private static String names(List<RankMap.Pod> pods) {
    String named =
        pods.stream()
            .limit(NAMED)
            .map(pod -> "pod %d (%s)".formatted(pod.index(), pod.name()))
            .collect(Collectors.joining(", "));
    return pods.size() <= NAMED ? named : "%s and %d more".formatted(named, pods.size() - NAMED);
  }
}
