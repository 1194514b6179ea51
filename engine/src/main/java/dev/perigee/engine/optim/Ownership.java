package dev.perigee.engine.optim;

import dev.perigee.engine.model.Parameter;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/**
 * Which rank of a group updates which of the parameters that the group holds together. A parameter
 * is never split: Muon wants the whole matrix. The choice depends on shapes alone, so every rank
 * makes the same.
 */
final class Ownership {
  /** Cost of an elementwise update in operations for each number: it waits for memory. */
  private static final double ELEMENT_COST = 50;

  private Ownership() {}

  /** What updating a parameter takes, in operations. */
  static double cost(Parameter parameter, RunConfig.Optimizer optimizer) {
    return ELEMENT_COST * parameter.value().size() + Optimizer.productFlops(parameter, optimizer);
  }

  /** Whether Muon updates a parameter; else AdamW does. */
  static boolean usesMuon(Parameter parameter, RunConfig.Optimizer optimizer) {
    return optimizer.kind() == RunConfig.Optimizer.Kind.MuonClip
        && parameter.rule() == Parameter.Rule.MATRIX;
  }

  /**
   * The parameters of each owner, in their given order: the costliest first goes to whoever has
   * least so far.
   */
  static List<List<Parameter>> assign(
      List<Parameter> parameters, int owners, RunConfig.Optimizer optimizer) {
    List<Integer> byCost = new ArrayList<>();
    double[] costs = new double[parameters.size()];
    for (int i = 0; i < costs.length; i++) {
      byCost.add(i);
      costs[i] = cost(parameters.get(i), optimizer);
    }
    byCost.sort(Comparator.<Integer>comparingDouble(i -> -costs[i]).thenComparingInt(i -> i));
    double[] load = new double[owners];
    int[] owner = new int[costs.length];
    for (int i : byCost) {
      int least = 0;
      for (int o = 1; o < owners; o++) {
        least = load[o] < load[least] ? o : least;
      }
      owner[i] = least;
      load[least] += costs[i];
    }
    List<List<Parameter>> owned = new ArrayList<>();
    for (int o = 0; o < owners; o++) {
      owned.add(new ArrayList<>());
    }
    for (int i = 0; i < owner.length; i++) {
      owned.get(owner[i]).add(parameters.get(i));
    }
    return owned;
  }
}
