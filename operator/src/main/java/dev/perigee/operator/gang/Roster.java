package dev.perigee.operator.gang;

import dev.perigee.run.RankMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Predicate;

/**
 * Which pod has which place in one start of a gang: the pods that were made for it, those of the
 * start before that stay, and for places that are left, spares. A place that is not in it needs a
 * new pod.
 *
 * @param generation the start
 * @param places pods by index
 */
public record Roster(int generation, Map<Integer, PodState> places) {
  public Roster {
    places = new TreeMap<>(places);
  }

  /**
   * Fills the places, a pure function. A spare that the published rank map already names for a
   * place gets that one, because its program may have begun.
   *
   * @param generation the start
   * @param size places of the gang
   * @param stays which pods of the start before are part of this one
   * @param published the newest rank map with addresses, empty when there is none
   */
  public static Roster of(
      int generation,
      int size,
      ObservedGang observed,
      Predicate<PodState> stays,
      Optional<RankMap> published) {
    Map<Integer, PodState> places = new TreeMap<>();
    observed.notOf(generation).stream().filter(stays).forEach(p -> places.put(p.index(), p));
    observed.of(generation).forEach(p -> places.put(p.index(), p));
    Map<String, PodState> free = new TreeMap<>();
    observed.spares().stream().filter(PodState::isUp).forEach(p -> free.put(p.name(), p));
    published
        .filter(map -> map.generation() == generation)
        .ifPresent(
            map -> {
              for (RankMap.Pod named : map.pods()) {
                PodState spare = free.get(hostname(named));
                if (spare != null && places.putIfAbsent(named.index(), spare) == null) {
                  free.remove(spare.name());
                }
              }
            });
    Iterator<PodState> next = free.values().iterator();
    for (int index = 0; index < size && next.hasNext(); index++) {
      if (!places.containsKey(index)) {
        places.put(index, next.next());
      }
    }
    return new Roster(generation, places);
  }

  /** Pods that have a place but are not labelled so yet. */
  Map<Integer, PodState> newcomers() {
    Map<Integer, PodState> waiting = new TreeMap<>(places);
    waiting.values().removeIf(pod -> pod.generation() == generation);
    return waiting;
  }

  /** Whether every place has a pod of this start. */
  public boolean isWhole(int size) {
    return places.size() == size && newcomers().isEmpty();
  }

  /** Spares that have no place. */
  public List<PodState> idle(ObservedGang observed) {
    return observed.spares().stream().filter(spare -> !places.containsValue(spare)).toList();
  }

  private static String hostname(RankMap.Pod pod) {
    return pod.name().split("\\.", 2)[0];
  }
}
