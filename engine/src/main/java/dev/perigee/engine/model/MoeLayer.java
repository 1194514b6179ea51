package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.RouterShape;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.util.Arrays;

/**
 * A mixture of experts (DeepSeek-V3 report, section 2.1.2): every token goes to the shared experts
 * and to the K routed experts that the router chooses for it. Expert parallelism: the ranks of a
 * group hold a contiguous block of the experts each.
 *
 * <p>T tokens, H hidden, E experts, K chosen, F an expert's width; S = T · K pairs; R rows at this
 * rank's experts.
 */
final class MoeLayer implements FeedForward {
  private final Backend backend;
  private final Collectives group;
  private final RouterShape router;
  private final Linear gate;
  private final Tensor bias_E;
  private final Weight gateUp_EFFH;
  private final Weight down_EHF;
  private final int width;
  private final DenseFfn shared; // null when there are none
  private final long[] tokensPerExpert;

  MoeLayer(String prefix, ModelConfig c, Backend backend, Collectives group, ParameterStore store) {
    this.backend = backend;
    this.group = group;
    this.router =
        new RouterShape(
            c.nRoutedExperts(),
            c.numExpertsPerTok(),
            c.nGroup(),
            c.topkGroup(),
            c.normTopkProb(),
            (float) c.routedScalingFactor());
    this.width = c.moeIntermediateSize();
    int h = c.hiddenSize();
    int local = c.nRoutedExperts() / group.size();
    int first = group.index() * local;
    String experts = prefix + ".experts";
    gate = new Linear(backend, store.matrix(prefix + ".gate.weight", router.experts(), h));
    bias_E = store.buffer(prefix + ".gate.e_score_correction_bias", router.experts());
    gateUp_EFFH = store.expertGateUps(experts, first, local, width, h);
    down_EHF = store.expertDowns(experts, first, local, h, width);
    shared =
        c.nSharedExperts() == 0
            ? null
            : new DenseFfn(
                prefix + ".shared_experts", h, width * c.nSharedExperts(), backend, store);
    tokensPerExpert = new long[router.experts()];
  }

  /** How many of this rank's tokens chose each expert since the last reset. */
  long[] tokensPerExpert() {
    return tokensPerExpert.clone();
  }

  void resetTokensPerExpert() {
    Arrays.fill(tokensPerExpert, 0);
  }

  /** What a forward pass leaves, and then a backward one. */
  static final class Pass implements Output {
    private final Tensor x_TH;
    private final Tensor s_TE;
    private final int[] chosen_TK;
    private final Tensor weight_TK;
    private final ExpertExchange exchange;
    private final Tensor x_RH;
    private final Tensor gu_RFF;
    private final Tensor h_RF;
    private final Tensor y_SH;
    private final DenseFfn.Pass shared;
    private final Tensor y_TH;
    private Tensor dlogits_TE;
    private Tensor dy_RH;
    private Tensor dgu_RFF;

    private Pass(
        Tensor x_TH,
        Tensor s_TE,
        int[] chosen_TK,
        Tensor weight_TK,
        ExpertExchange exchange,
        Tensor x_RH,
        Tensor gu_RFF,
        Tensor h_RF,
        Tensor y_SH,
        DenseFfn.Pass shared,
        Tensor y_TH) {
      this.x_TH = x_TH;
      this.s_TE = s_TE;
      this.chosen_TK = chosen_TK;
      this.weight_TK = weight_TK;
      this.exchange = exchange;
      this.x_RH = x_RH;
      this.gu_RFF = gu_RFF;
      this.h_RF = h_RF;
      this.y_SH = y_SH;
      this.shared = shared;
      this.y_TH = y_TH;
    }

    @Override
    public Tensor y_TH() {
      return y_TH;
    }
  }

  @Override
  public Pass forward(Tensor x_TH, Tokens tokens) {
    int t = x_TH.dim(0);
    Tensor s_TE = gate.forward(x_TH);
    int[] chosen_TK = new int[t * router.chosen()];
    Tensor weight_TK = backend.arena().take(t, router.chosen());
    backend.route(router, s_TE, bias_E, chosen_TK, weight_TK);
    int[] counts = new int[router.experts()];
    for (int e : chosen_TK) {
      counts[e]++;
    }
    if (tokens.recording()) {
      for (int e = 0; e < counts.length; e++) {
        tokensPerExpert[e] += counts[e];
      }
    }
    ExpertExchange exchange =
        new ExpertExchange(chosen_TK, router.chosen(), counts, backend, group);
    Tensor x_RH = exchange.dispatch(x_TH);
    int r = x_RH.dim(0);
    Tensor gu_RFF = backend.arena().take(r, 2 * width);
    backend.groupedLinear(x_RH, gateUp_EFFH.value(), exchange.rowsOfExpert(), gu_RFF);
    Tensor h_RF = backend.arena().take(r, width);
    backend.swiGlu(gu_RFF, h_RF);
    Tensor y_RH = backend.arena().take(r, x_TH.dim(1));
    backend.groupedLinear(h_RF, down_EHF.value(), exchange.rowsOfExpert(), y_RH);
    Tensor y_SH = exchange.fromExperts(y_RH);
    DenseFfn.Pass ofShared = shared == null ? null : shared.forward(x_TH, tokens);
    Tensor y_TH;
    if (ofShared == null) {
      y_TH = backend.arena().take(t, x_TH.dim(1));
      backend.fill(y_TH, 0);
    } else {
      y_TH = ofShared.y_TH();
    }
    backend.combineRows(y_SH, exchange.slot_TK(), weight_TK, y_TH);
    return new Pass(
        x_TH, s_TE, chosen_TK, weight_TK, exchange, x_RH, gu_RFF, h_RF, y_SH, ofShared, y_TH);
  }

  @Override
  public Tensor backwardInput(Output out, Tensor dy_TH) {
    Pass p = (Pass) out;
    int t = dy_TH.dim(0);
    int h = dy_TH.dim(1);
    int r = p.x_RH.dim(0);
    Tensor dy_SH = backend.arena().take(p.y_SH.dim(0), h);
    Tensor dweight_TK = backend.arena().take(t, router.chosen());
    backend.combineRowsBackward(
        dy_TH, p.y_SH, p.exchange.slot_TK(), p.weight_TK, dy_SH, dweight_TK);
    p.dy_RH = p.exchange.toExperts(dy_SH);
    Tensor dh_RF = backend.arena().take(r, width);
    backend.groupedLinearBackwardInput(p.dy_RH, down_EHF.value(), p.exchange.rowsOfExpert(), dh_RF);
    p.dgu_RFF = backend.arena().take(r, 2 * width);
    backend.swiGluBackward(dh_RF, p.gu_RFF, p.dgu_RFF);
    Tensor dx_RH = backend.arena().take(r, h);
    backend.groupedLinearBackwardInput(
        p.dgu_RFF, gateUp_EFFH.value(), p.exchange.rowsOfExpert(), dx_RH);
    Tensor dx_SH = p.exchange.fromExperts(dx_RH);

    p.dlogits_TE = backend.arena().take(t, router.experts());
    backend.routeBackward(router, dweight_TK, p.s_TE, p.chosen_TK, p.dlogits_TE);
    Tensor dx_TH = gate.backwardInput(p.dlogits_TE);
    if (shared != null) {
      backend.add(shared.backwardInput(p.shared, dy_TH), dx_TH);
    }
    backend.combineRows(dx_SH, p.exchange.slot_TK(), null, dx_TH);
    return dx_TH;
  }

  @Override
  public void backwardWeight(Output out) {
    Pass p = (Pass) out;
    int[] rows = p.exchange.rowsOfExpert();
    backend.groupedLinearBackwardWeight(p.dy_RH, p.h_RF, rows, down_EHF.gradient());
    backend.groupedLinearBackwardWeight(p.dgu_RFF, p.x_RH, rows, gateUp_EFFH.gradient());
    gate.backwardWeight(p.dlogits_TE, p.x_TH);
    if (shared != null) {
      shared.backwardWeight(p.shared);
    }
  }
}
