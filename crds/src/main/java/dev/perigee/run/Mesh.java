package dev.perigee.run;

import java.util.ArrayList;
import java.util.List;

/**
 * How the ranks of a job are laid out: {@code world = pipeline × data}. Expert parallelism folds
 * into data parallelism ({@code expert} divides {@code data}), so each expert is replicated {@code
 * data / expert} times. There is no tensor parallelism (Kimi K2 report, section 2.4).
 *
 * <p>Ranks are ordered expert fastest, then expert replica, then stage: {@code rank = (stage ·
 * replicas + replica) · expert + expertIndex}, so that one expert group sits in as few pods as
 * possible. The data-parallel index of a rank is {@code replica · expert + expertIndex}.
 *
 * @param pipeline pipeline stages, at least 1
 * @param data data-parallel ranks of each stage, at least 1
 * @param expert ranks that share the routed experts between them; divides {@code data}
 * @param ranksPerPod ranks (threads, GPUs) in one pod; divides the world
 */
public record Mesh(int pipeline, int data, int expert, int ranksPerPod) {

  /** One rank, one pod. */
  public static final Mesh SINGLE = new Mesh(1, 1, 1, 1);

  /** Where a rank stands in the mesh. */
  public record Coordinates(int stage, int replica, int expertIndex) {}

  /** All ranks: {@code pipeline × data}. */
  public int world() {
    return Math.multiplyExact(pipeline, data);
  }

  /** How many times each expert exists: {@code data / expert}. */
  public int replicas() {
    return data / expert;
  }

  /** Pods of the gang. */
  public int pods() {
    return world() / ranksPerPod;
  }

  /** The coordinates of a global rank. */
  public Coordinates coordinates(int rank) {
    return new Coordinates(rank / data, rank % data / expert, rank % expert);
  }

  /** The data-parallel index of a rank, 0 to {@code data - 1}. */
  public int dataIndex(int rank) {
    return rank % data;
  }

  /** Global ranks that hold the same stage: the group over which dense gradients are summed. */
  public List<Integer> dataGroup(int rank) {
    return range(rank / data * data, data, 1);
  }

  /** Global ranks that share one copy of the experts: the group of the all-to-all. */
  public List<Integer> expertGroup(int rank) {
    return range(rank / expert * expert, expert, 1);
  }

  /** Global ranks with the same experts: the group over which expert gradients are summed. */
  public List<Integer> expertReplicaGroup(int rank) {
    return range(rank / data * data + rank % expert, replicas(), expert);
  }

  /** Global ranks that work on the same share of the batch, by stage. */
  public List<Integer> pipelineGroup(int rank) {
    return range(rank % data, pipeline, data);
  }

  /** All global ranks. */
  public List<Integer> ranks() {
    return range(0, world(), 1);
  }

  private static List<Integer> range(int first, int count, int step) {
    List<Integer> ranks = new ArrayList<>(count);
    for (int i = 0; i < count; i++) {
      ranks.add(first + i * step);
    }
    return ranks;
  }

  /**
   * What is wrong with this mesh for a model with the given experts, one line each; empty when
   * nothing is.
   *
   * @param routedExperts routed experts of the model, 0 for a dense one, negative when not known
   *     yet
   */
  public List<String> problems(int routedExperts) {
    List<String> found = new ArrayList<>();
    atLeastOne(found, "pipeline", pipeline);
    atLeastOne(found, "data", data);
    atLeastOne(found, "expert", expert);
    atLeastOne(found, "ranksPerPod", ranksPerPod);
    if (!found.isEmpty()) {
      return found;
    }
    if ((long) pipeline * data > 1 << 20) {
      found.add(
          "parallelism: pipeline "
              + pipeline
              + " × data "
              + data
              + " is more than 1048576 ranks; ask for fewer");
      return found;
    }
    if (data % expert != 0) {
      found.add(
          "parallelism.expert: "
              + expert
              + " does not divide data "
              + data
              + "; expert parallelism folds into data parallelism, so use one of "
              + divisors(data));
    }
    if (world() % ranksPerPod != 0) {
      found.add(
          "parallelism.ranksPerPod: "
              + ranksPerPod
              + " does not divide the "
              + world()
              + " ranks (pipeline × data); use one of "
              + divisors(world()));
    }
    if (routedExperts > 0 && routedExperts % expert != 0) {
      found.add(
          "parallelism.expert: "
              + expert
              + " does not divide the model's "
              + routedExperts
              + " routed experts; use one of "
              + divisors(routedExperts));
    }
    if (routedExperts == 0 && expert > 1) {
      found.add(
          "parallelism.expert: " + expert + " ranks for a model without routed experts; use 1");
    }
    return found;
  }

  private static void atLeastOne(List<String> found, String field, int value) {
    if (value < 1) {
      found.add("parallelism." + field + ": " + value + " is less than 1");
    }
  }

  private static List<Integer> divisors(int n) {
    List<Integer> found = new ArrayList<>();
    for (int d = 1; d <= n && found.size() < 16; d++) {
      if (n % d == 0) {
        found.add(d);
      }
    }
    return found;
  }
}
