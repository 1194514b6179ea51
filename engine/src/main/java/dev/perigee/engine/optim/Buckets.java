package dev.perigee.engine.optim;

import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/**
 * A rank's parameters in {@link Bucket}s, and their exchange beside what the rank computes. Buckets
 * are in the order in which backward is done with them: the model's last layers first. Every rank
 * exchanges them in that order, each as soon as it is ready and those before it have been
 * exchanged, so the order never depends on timing, and neither does any sum on how parameters are
 * dealt to buckets.
 */
final class Buckets {
  private final List<Bucket> buckets = new ArrayList<>();
  private final Map<String, Integer> bucketOf = new HashMap<>();

  /** Names of each bucket's parameters whose gradients are not complete yet in this step. */
  private final List<Set<String>> awaited = new ArrayList<>();

  private final Lane lane = new Lane();

  /** What goes over the wire: one bucket at a time. */
  private final Tensor memory;

  /** Buckets whose reduction has been started in this step. */
  private int started;

  /**
   * Deals out parameters.
   *
   * @param parameters in the order of the model, the same on every rank of the groups
   * @param bytes of a bucket at most, unless a single parameter is larger
   */
  Buckets(
      List<Parameter> parameters, Fabric.Groups groups, RunConfig.Optimizer optimizer, long bytes) {
    Map<Parameter.Sharing, Open> open = new EnumMap<>(Parameter.Sharing.class);
    Map<String, Integer> owners = new HashMap<>();
    for (Parameter.Sharing sharing : Parameter.Sharing.values()) {
      Collectives group =
          switch (sharing) {
            case DENSE -> groups.dense();
            case EXPERT -> groups.replica();
          };
      List<Parameter> those = parameters.stream().filter(p -> p.sharing() == sharing).toList();
      List<List<Parameter>> byOwner = Ownership.assign(those, group.size(), optimizer);
      for (int o = 0; o < byOwner.size(); o++) {
        for (Parameter p : byOwner.get(o)) {
          owners.put(p.name(), o);
        }
      }
      open.put(sharing, new Open(group));
    }
    for (Parameter p : parameters.reversed()) {
      Open filling = open.get(p.sharing());
      boolean shared = filling.group.size() > 1; // else nothing is exchanged
      if (shared && filling.bytes > 0 && filling.bytes + bytes(p) > bytes) {
        close(filling);
      }
      filling.add(p, owners.get(p.name()));
    }
    open.values().stream().filter(o -> o.bytes > 0).forEach(this::close);
    List<Bucket> shared = buckets.stream().filter(Bucket::isShared).toList();
    int largest = shared.stream().mapToInt(Bucket::size).max().orElse(0);
    // A rank's groups all exchange on the host, or all on its device.
    memory = shared.isEmpty() ? Tensor.zeros(0) : shared.getFirst().memory(largest);
    begin();
  }

  /** A bucket that is being filled. */
  private static final class Open {
    private final Collectives group;
    private List<List<Parameter>> byOwner = List.of();
    private long bytes;

    Open(Collectives group) {
      this.group = group;
      clear();
    }

    void clear() {
      byOwner = new ArrayList<>();
      for (int o = 0; o < group.size(); o++) {
        byOwner.add(new ArrayList<>());
      }
      bytes = 0;
    }

    void add(Parameter p, int owner) {
      byOwner.get(owner).add(p);
      bytes += bytes(p);
    }
  }

  private static long bytes(Parameter p) {
    return (long) Float.BYTES * p.value().size();
  }

  private void close(Open filled) {
    Bucket bucket = new Bucket(filled.group, filled.byOwner);
    bucket.parameters().forEach(p -> bucketOf.put(p.name(), buckets.size()));
    buckets.add(bucket);
    filled.clear();
  }

  private void begin() {
    started = 0;
    awaited.clear();
    for (Bucket bucket : buckets) {
      awaited.add(new HashSet<>(bucket.parameters().stream().map(Parameter::name).toList()));
    }
  }

  /** Whether two parameters of this rank are in one bucket. */
  boolean areTogether(Parameter a, Parameter b) {
    return bucketOf.get(a.name()).equals(bucketOf.get(b.name()));
  }

  /** Whether this rank exchanges any of them. */
  boolean areShared() {
    return buckets.stream().anyMatch(Bucket::isShared);
  }

  /** How many there are. */
  int count() {
    return buckets.size();
  }

  /** Numbers of memory that the exchange takes. */
  int exchangeSize() {
    return memory.size();
  }

  /**
   * Says that nothing more is added to these gradients in this step; exchanges what is complete.
   */
  void ready(List<Parameter> parameters) {
    for (Parameter p : parameters) {
      if (!awaited.get(bucketOf.get(p.name())).remove(p.name())) {
        throw new IllegalStateException(
            "the gradient of " + p.name() + " is ready twice in a step");
      }
    }
    while (started < buckets.size() && awaited.get(started).isEmpty()) {
      reduceNext();
    }
  }

  /** Returns when every owner has its summed gradients, and makes ready for the next step. */
  void finishGradients() {
    while (started < buckets.size()) {
      reduceNext();
    }
    lane.finish();
    begin();
  }

  private void reduceNext() {
    Bucket bucket = buckets.get(started++);
    if (bucket.isShared()) {
      lane.start(() -> bucket.reduceGradients(memory));
    }
  }

  /** Updates what this rank owns, and publishes each bucket while the next is updated. */
  void update(Consumer<List<Parameter>> update) {
    for (Bucket bucket : buckets) {
      update.accept(bucket.owned());
      if (bucket.isShared()) {
        lane.start(() -> bucket.publishWeights(memory));
      }
    }
  }

  /** Returns when this rank has everybody's new weights. */
  void finishWeights() {
    lane.finish();
  }

  /** Whether this rank updates a parameter. */
  boolean owns(Parameter p) {
    return buckets.get(bucketOf.get(p.name())).owned().contains(p);
  }
}
