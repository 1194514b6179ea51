package dev.perigee.engine.optim;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Matrices of one shape that lie back to back and are updated together, so that a backend can take
 * Muon's step for all of them at once; or one parameter of any other kind.
 *
 * @param parameters in the order of the model
 * @param gradient_BNM all their gradients; null unless Muon updates them, as the next two
 * @param momentum_BNM memory for their momentum
 * @param weight_BNM all their weights
 */
record Alike(
    List<Parameter> parameters, Tensor gradient_BNM, Tensor momentum_BNM, Tensor weight_BNM) {

  /** More matrices keep a GPU no busier, and take more working memory. */
  private static final int MOST = 64;

  /** Deals out what a rank owns. */
  static List<Alike> of(
      List<Parameter> owned, RunConfig.Optimizer config, Buckets buckets, Backend backend) {
    List<Alike> all = new ArrayList<>();
    List<Parameter> run = new ArrayList<>();
    for (Parameter p : owned) {
      if (!run.isEmpty() && !follows(run, p, config, buckets)) {
        all.add(of(run, config, backend));
        run.clear();
      }
      run.add(p);
    }
    if (!run.isEmpty()) {
      all.add(of(run, config, backend));
    }
    return all;
  }

  @SuppressWarnings("ReferenceEquality") // whether two views share memory
  private static boolean follows(
      List<Parameter> run, Parameter next, RunConfig.Optimizer config, Buckets buckets) {
    Parameter last = run.getLast();
    return run.size() < MOST
        && Ownership.usesMuon(last, config)
        && Ownership.usesMuon(next, config)
        && Arrays.equals(last.value().shape(), next.value().shape())
        && last.value().storage() == next.value().storage()
        && last.value().offset() + last.value().size() == next.value().offset()
        && last.gradient().storage() == next.gradient().storage()
        && last.gradient().offset() + last.gradient().size() == next.gradient().offset()
        && buckets.areTogether(last, next);
  }

  private static Alike of(List<Parameter> run, RunConfig.Optimizer config, Backend backend) {
    Parameter first = run.getFirst();
    if (!Ownership.usesMuon(first, config)) {
      return new Alike(List.copyOf(run), null, null, null);
    }
    int[] shape = {run.size(), first.value().dim(0), first.value().dim(1)};
    return new Alike(
        List.copyOf(run),
        new Tensor(first.gradient().storage(), first.gradient().offset(), shape),
        backend.zeros(shape),
        new Tensor(first.value().storage(), first.value().offset(), shape));
  }

  /** Whether Muon updates these. */
  boolean usesMuon() {
    return momentum_BNM != null;
  }

  /** The momentum of parameter {@code i} of them. */
  Tensor momentum(int i) {
    return momentum_BNM.slice(i, 1).view(momentum_BNM.dim(1), momentum_BNM.dim(2));
  }
}
