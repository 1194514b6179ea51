package dev.perigee.engine.optim;

import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * Parameters that the ranks of one group hold together. Each is owned by one of them: gradients are
 * summed to the owner, the owner updates, and its new weights go to all (ZeRO stage 1 with whole
 * matrices; "Muon is scalable for LLM training", section 2.3). Both exchanges are one operation on
 * one buffer, in which each owner's parameters lie together.
 */
final class SharedParameters {
  /** A parameter that this rank updates, and where its summed gradient is. */
  record Owned(Parameter parameter, Tensor gradient) {}

  private final Collectives group;
  private final List<List<Parameter>> byOwner;
  private final int[] counts;
  private final Tensor buffer;
  private final List<Owned> owned = new ArrayList<>();

  SharedParameters(List<Parameter> parameters, Collectives group, RunConfig.Optimizer optimizer) {
    this.group = group;
    byOwner = Ownership.assign(parameters, group.size(), optimizer);
    counts = new int[group.size()];
    int total = 0;
    for (int o = 0; o < counts.length; o++) {
      for (Parameter p : byOwner.get(o)) {
        counts[o] = Math.addExact(counts[o], p.value().size());
      }
      total = Math.addExact(total, counts[o]);
    }
    // A group of one sums nothing: gradients are used where they are.
    buffer = Tensor.zeros(group.size() == 1 ? 0 : total);
    int at = 0;
    for (int o = 0; o < counts.length; o++) {
      for (Parameter p : byOwner.get(o)) {
        if (o == group.index()) {
          owned.add(
              new Owned(
                  p,
                  group.size() == 1 || !p.gradient().isOnHost()
                      ? p.gradient()
                      : part(at, p)));
        }
        at += p.value().size();
      }
    }
  }

  /** A parameter's place in the buffer, which is on the host. */
  private Tensor part(int at, Parameter p) {
    return new Tensor(buffer.storage(), at, p.value().shape());
  }

  /** What this rank updates. */
  List<Owned> owned() {
    return owned;
  }

  /** Sums the gradients over the group into {@link Owned#gradient} of their owners. */
  void reduceGradients() {
    if (group.size() == 1) {
      return;
    }
    int at = 0;
    for (List<Parameter> parameters : byOwner) {
      for (Parameter p : parameters) {
        part(at, p).assign(p.gradient().onHost());
        at += p.gradient().size();
      }
    }
    group.reduceScatterSum(buffer, counts);
    at = 0;
    for (int o = 0; o < counts.length; o++) {
      for (Parameter p : byOwner.get(o)) {
        if (o == group.index() && !p.gradient().isOnHost()) {
          p.gradient().assign(part(at, p));
        }
        at += p.gradient().size();
      }
    }
  }

  /** Brings the owners' new weights to all ranks of the group. */
  void publishWeights() {
    if (group.size() == 1) {
      return;
    }
    int at = 0;
    for (int o = 0; o < counts.length; o++) {
      for (Parameter p : byOwner.get(o)) {
        if (o == group.index()) {
          part(at, p).assign(p.value().onHost());
        }
        at += p.value().size();
      }
    }
    group.allGather(buffer, counts);
    at = 0;
    for (int o = 0; o < counts.length; o++) {
      for (Parameter p : byOwner.get(o)) {
        if (o != group.index()) {
          p.value().assign(part(at, p));
        }
        at += p.value().size();
      }
    }
  }
}
