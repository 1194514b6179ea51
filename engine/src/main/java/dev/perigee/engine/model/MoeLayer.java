package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
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
 * <p>Either direction is cut where rows travel, so that another micro-batch can compute meanwhile:
 * {@code begin, dispatch, experts, combine, finish} and {@code backwardBegin, combineBackward,
 * expertsBackward, dispatchBackward, backwardFinish}. The exchanges neither compute nor open scopes,
 * and may run on another thread than the rest.
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

  /** What is added to each expert's score when experts are chosen. */
  Tensor bias() {
    return bias_E;
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

    /** Where exchanges, which have no scope of their own, take memory from. */
    private final Arena.Region memory;

    private Arena.Region backwardMemory;

    /** Rows on their way, or where the last exchange has left them. */
    private Tensor rows;

    private Tensor x_RH;
    private Tensor gu_RFF;
    private Tensor h_RF;
    private Tensor y_SH;
    private DenseFfn.Pass shared;
    private Tensor y_TH;
    private Tensor dy_TH;
    private Tensor dweight_TK;
    private Tensor dlogits_TE;
    private Tensor dy_RH;
    private Tensor dgu_RFF;
    private Tensor dshared_TH;

    private Pass(
        Tensor x_TH,
        Tensor s_TE,
        int[] chosen_TK,
        Tensor weight_TK,
        ExpertExchange exchange,
        Arena.Region memory) {
      this.x_TH = x_TH;
      this.s_TE = s_TE;
      this.chosen_TK = chosen_TK;
      this.weight_TK = weight_TK;
      this.exchange = exchange;
      this.memory = memory;
    }

    @Override
    public Tensor y_TH() {
      return y_TH;
    }
  }

  /** Chooses experts. */
  @Override
  public Pass begin(Tensor x_TH, Tokens tokens) {
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
    Pass p = new Pass(x_TH, s_TE, chosen_TK, weight_TK, exchange, backend.arena().innermost());
    p.rows = exchange.rows(x_TH);
    return p;
  }

  /** Brings tokens to their experts: only exchanges, with the ranks of the group together. */
  void dispatch(Output out) {
    Pass p = (Pass) out;
    p.exchange.agree();
    p.rows = p.exchange.there(p.rows, p.memory);
  }

  /** Computes this rank's experts, and the shared ones. */
  void experts(Output out) {
    Pass p = (Pass) out;
    p.x_RH = p.exchange.group(p.rows);
    int r = p.x_RH.dim(0);
    p.gu_RFF = backend.arena().take(r, 2 * width);
    backend.groupedLinear(p.x_RH, gateUp_EFFH.value(), p.exchange.rowsOfExpert(), p.gu_RFF);
    p.h_RF = backend.arena().take(r, width);
    backend.swiGlu(p.gu_RFF, p.h_RF);
    Tensor y_RH = backend.arena().take(r, p.x_TH.dim(1));
    backend.groupedLinear(p.h_RF, down_EHF.value(), p.exchange.rowsOfExpert(), y_RH);
    p.rows = p.exchange.ungroup(y_RH);
    p.shared = shared == null ? null : shared.forward(p.x_TH);
  }

  /** Brings the experts' results back: only exchanges. */
  void combine(Output out) {
    Pass p = (Pass) out;
    p.y_SH = p.exchange.back(p.rows, p.memory);
  }

  /** Adds each token's results up. */
  @Override
  public void finish(Output out) {
    Pass p = (Pass) out;
    if (p.shared == null) {
      p.y_TH = backend.arena().take(p.x_TH.dim(0), p.x_TH.dim(1));
      backend.fill(p.y_TH, 0);
    } else {
      p.y_TH = p.shared.y_TH();
    }
    backend.combineRows(p.y_SH, p.exchange.slot_TK(), p.weight_TK, p.y_TH);
  }

  /** The gradient of each expert's result. */
  @Override
  public void backwardBegin(Output out, Tensor dy_TH) {
    Pass p = (Pass) out;
    p.backwardMemory = backend.arena().innermost();
    p.dy_TH = dy_TH;
    p.rows = backend.arena().take(p.y_SH.dim(0), dy_TH.dim(1));
    p.dweight_TK = backend.arena().take(dy_TH.dim(0), router.chosen());
    backend.combineRowsBackward(
        dy_TH, p.y_SH, p.exchange.slot_TK(), p.weight_TK, p.rows, p.dweight_TK);
  }

  /** Brings the results' gradients to the experts: only exchanges. */
  void combineBackward(Output out) {
    Pass p = (Pass) out;
    p.rows = p.exchange.there(p.rows, p.backwardMemory);
  }

  /** The gradients of the inputs of this rank's experts, and of the shared ones. */
  void expertsBackward(Output out) {
    Pass p = (Pass) out;
    p.dy_RH = p.exchange.group(p.rows);
    int r = p.dy_RH.dim(0);
    Tensor dh_RF = backend.arena().take(r, width);
    backend.groupedLinearBackwardInput(p.dy_RH, down_EHF.value(), p.exchange.rowsOfExpert(), dh_RF);
    p.dgu_RFF = backend.arena().take(r, 2 * width);
    backend.swiGluBackward(dh_RF, p.gu_RFF, p.dgu_RFF);
    Tensor dx_RH = backend.arena().take(r, p.x_TH.dim(1));
    backend.groupedLinearBackwardInput(
        p.dgu_RFF, gateUp_EFFH.value(), p.exchange.rowsOfExpert(), dx_RH);
    p.rows = p.exchange.ungroup(dx_RH);
    if (shared != null) {
      shared.backwardBegin(p.shared, p.dy_TH);
      p.dshared_TH = shared.backwardInput(p.shared);
    }
  }

  /** Brings the gradients of tokens back from the experts: only exchanges. */
  void dispatchBackward(Output out) {
    Pass p = (Pass) out;
    p.rows = p.exchange.back(p.rows, p.backwardMemory);
  }

  @Override
  public Tensor backwardFinish(Output out) {
    Pass p = (Pass) out;
    p.dlogits_TE = backend.arena().take(p.x_TH.dim(0), router.experts());
    backend.routeBackward(router, p.dweight_TK, p.s_TE, p.chosen_TK, p.dlogits_TE);
    Tensor dx_TH = gate.backwardInput(p.dlogits_TE);
    if (shared != null) {
      backend.add(p.dshared_TH, dx_TH);
    }
    backend.combineRows(p.rows, p.exchange.slot_TK(), null, dx_TH);
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
