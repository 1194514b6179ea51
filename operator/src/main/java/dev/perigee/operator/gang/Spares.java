package dev.perigee.operator.gang;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.IntFunction;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * The spares that a gang should have beside the pods of its places: a pure function of those that
 * are there.
 *
 * @param names of the spares to be made
 * @param leaving spares that have ended, or of which there are too many
 */
public record Spares(List<String> names, List<PodState> leaving) {
  /** A spare that ends by itself is made anew no more often than this. */
  static final Duration PATIENCE = Duration.ofMinutes(1);

  public Spares {
    names = List.copyOf(names);
    leaving = List.copyOf(leaving);
  }

  /**
   * What there is to do.
   *
   * @param wanted how many spares should wait
   * @param idle spares that wait for no place of the current start
   * @param observed all pods, whose names are taken
   * @param name the name of a spare by its number, from 0
   */
  public static Spares of(
      int wanted,
      List<PodState> idle,
      ObservedGang observed,
      IntFunction<String> name,
      Instant now) {
    List<PodState> leaving = new ArrayList<>();
    int waiting = 0;
    for (PodState spare : idle) {
      boolean over = spare.ended() || spare.onLostNode();
      boolean recent =
          spare.ended()
              && spare.end().at() != null
              && WrittenTime.isWithin(PATIENCE, spare.end().at(), now);
      if (!spare.deleting() && (over ? !recent : waiting >= wanted)) {
        leaving.add(spare);
      } else if (!spare.deleting()) {
        waiting++;
      }
    }
    Set<String> taken = observed.pods().stream().map(PodState::name).collect(Collectors.toSet());
    List<String> names =
        IntStream.iterate(0, i -> i + 1)
            .mapToObj(name)
            .filter(n -> !taken.contains(n))
            .limit(Math.max(0, wanted - waiting))
            .toList();
    return new Spares(names, leaving);
  }
}
