package dev.perigee.engine.optim;

import dev.perigee.engine.model.Parameter;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * Which rank of a group updates which of the parameters that the group holds together: the
 * planner's rule ({@link dev.perigee.plan.Ownership}) over parameters. A parameter is never split:
 * Muon wants the whole matrix. The choice depends on shapes alone, so every rank makes the same.
 */
final class Ownership {
  private Ownership() {}

  /** What updating a parameter takes, in operations. */
  static double cost(Parameter parameter, RunConfig.Optimizer optimizer) {
    return dev.perigee.plan.Ownership.cost(
        parameter.value().size(), Optimizer.productFlops(parameter, optimizer));
  }

  /** Whether Muon updates a parameter; else AdamW does. */
  static boolean usesMuon(Parameter parameter, RunConfig.Optimizer optimizer) {
    return optimizer.kind() == RunConfig.Optimizer.Kind.MuonClip
        && parameter.rule() == Parameter.Rule.MATRIX;
  }

  /** The parameters of each owner, in their given order. */
  static List<List<Parameter>> assign(
      List<Parameter> parameters, int owners, RunConfig.Optimizer optimizer) {
    int[] owner =
        dev.perigee.plan.Ownership.owners(
            parameters.stream().mapToDouble(p -> cost(p, optimizer)).toArray(), owners);
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
