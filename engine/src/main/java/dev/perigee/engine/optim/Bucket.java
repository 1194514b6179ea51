package dev.perigee.engine.optim;

import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import java.util.List;

/**
 * Parameters that the ranks of one group hold together and exchange in one go. Each is owned by one
 * of them: gradients are summed to the owner, the owner updates, and its new weights go to all
 * (ZeRO stage 1 with whole matrices; "Muon is scalable for LLM training", section 2.3). On the wire
 * each owner's parameters lie together.
 */
final class Bucket {
  private final Collectives group;
  private final List<List<Parameter>> byOwner;
  private final int[] counts;
  private final int size;

  /**
   * A bucket.
   *
   * @param byOwner parameters of each member of the group, in the same order on all of them
   */
  Bucket(Collectives group, List<List<Parameter>> byOwner) {
    this.group = group;
    this.byOwner = byOwner.stream().map(List::copyOf).toList();
    counts = new int[group.size()];
    int total = 0;
    for (int o = 0; o < counts.length; o++) {
      for (Parameter p : byOwner.get(o)) {
        counts[o] = Math.addExact(counts[o], p.value().size());
      }
      total = Math.addExact(total, counts[o]);
    }
    size = total;
  }

  /** Numbers in all its parameters. */
  int size() {
    return size;
  }

  /** What this rank updates. */
  List<Parameter> owned() {
    return byOwner.get(group.index());
  }

  /** All of its parameters. */
  List<Parameter> parameters() {
    return byOwner.stream().flatMap(List::stream).toList();
  }

  /** Memory for so many numbers where this bucket's group exchanges them fastest. */
  Tensor memory(int count) {
    return group.buffer(count);
  }

  /** Whether there is anybody to exchange with. */
  boolean isShared() {
    return group.size() > 1;
  }

  /**
   * Sums the gradients over the group into those of their owner; the others' are left as they are.
   *
   * @param memory at least {@link #size} numbers, undefined before and afterwards
   */
  void reduceGradients(Tensor memory) {
    Tensor buffer = memory.slice(0, size);
    for (int o = 0, at = 0; o < counts.length; o++) {
      for (Parameter p : byOwner.get(o)) {
        buffer.slice(at, p.gradient().size()).assign(p.gradient());
        at += p.gradient().size();
      }
    }
    group.reduceScatterSum(buffer, counts);
    for (int o = 0, at = 0; o < counts.length; at += counts[o++]) {
      if (o == group.index()) {
        take(buffer, at, byOwner.get(o), /* gradients= */ true);
      }
    }
  }

  /**
   * Brings the owners' new weights to all ranks of the group.
   *
   * @param memory as above
   */
  void publishWeights(Tensor memory) {
    Tensor buffer = memory.slice(0, size);
    for (int o = 0, at = 0; o < counts.length; at += counts[o++]) {
      int place = at;
      if (o == group.index()) {
        for (Parameter p : byOwner.get(o)) {
          buffer.slice(place, p.value().size()).assign(p.value());
          place += p.value().size();
        }
      }
    }
    group.allGather(buffer, counts);
    for (int o = 0, at = 0; o < counts.length; at += counts[o++]) {
      if (o != group.index()) {
        take(buffer, at, byOwner.get(o), /* gradients= */ false);
      }
    }
  }

  private static void take(Tensor buffer, int at, List<Parameter> parameters, boolean gradients) {
    for (Parameter p : parameters) {
      Tensor to = gradients ? p.gradient() : p.value();
      to.assign(buffer.slice(at, to.size()));
      at += to.size();
    }
  }
}
