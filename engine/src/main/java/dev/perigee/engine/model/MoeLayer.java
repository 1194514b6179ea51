package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.ExpertRows;
import dev.perigee.engine.backend.RouterShape;
import dev.perigee.engine.backend.Saved;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunConfig.Memory.Fp8;
import dev.perigee.run.RunConfig.Memory.Recompute;
import java.util.Arrays;

/**
 * A mixture of experts (DeepSeek-V3 report, section 2.1.2): every token goes to the shared experts
 * and to the K routed experts that the router chooses for it. Expert parallelism: the ranks of a
 * group hold a contiguous block of the experts each.
 *
 * <p>Either direction is cut where rows travel, so that another micro-batch can compute meanwhile:
 * {@code begin, dispatch, experts, combine, finish} and {@code backwardBegin, combineBackward,
 * expertsBackward, dispatchBackward, backwardFinish}. The exchanges neither compute nor open
 * scopes, and may run on another thread than the rest.
 *
 * <p>T tokens, H hidden, E experts, K chosen, F an expert's width; S = T · K pairs; R rows at this
 * rank's experts.
 */
final class MoeLayer implements FeedForward {
  private final Backend backend;
  private final RunConfig.Memory memory;
  private final Collectives group;
  private final RouterShape router;
  private final Linear gate;
  private final Tensor bias_E;
  private final Weight gateUp_EFFH;
  private final Weight down_EHF;
  private final int width;
  private final DenseFfn shared; // null when there are none
  private final Tensor tokens_E;

  MoeLayer(
      String prefix,
      ModelConfig c,
      RunConfig.Memory memory,
      Backend backend,
      Collectives group,
      ParameterStore store) {
    this.backend = backend;
    this.memory = memory;
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
                prefix + ".shared_experts", h, width * c.nSharedExperts(), memory, backend, store);
    tokens_E = backend.zeros(router.experts());
  }

  /** How many of this rank's tokens chose each expert since the last reset. */
  long[] tokensPerExpert() {
    float[] count = tokens_E.onHost().floats();
    long[] tokens = new long[count.length];
    Arrays.setAll(tokens, e -> (long) count[e]);
    return tokens;
  }

  /** What is added to each expert's score when experts are chosen. */
  Tensor bias() {
    return bias_E;
  }

  void resetTokensPerExpert() {
    backend.fill(tokens_E, 0);
  }

  /** What a forward pass leaves, and then a backward one. */
  static final class Pass implements Output {
    private final Saved x_TH;
    private final Saved s_TE;
    private final Indices chosen_TK;
    private final Tensor weight_TK;
    private final ExpertExchange exchange;

    /** Where exchanges, which have no scope of their own, take memory from. */
    private final Arena.Region memory;

    private Arena.Region backwardMemory;

    /** Rows on their way, or where the last exchange has left them. */
    private Tensor rows;

    private Saved x_RH;
    private Saved gu_RFF;
    private Saved h_RF;

    /** The experts' results, as they have come back. */
    private Tensor returned_SH;

    /** The same for backward; null when it computes them again. */
    private Saved y_SH;

    private DenseFfn.Pass shared;
    private Tensor y_TH;
    private Tensor dy_TH;
    private Tensor dweight_TK;
    private Tensor dlogits_TE;
    private Tensor dy_RH;
    private Tensor dgu_RFF;
    private Tensor dshared_TH;

    private Pass(
        Saved x_TH,
        Saved s_TE,
        Indices chosen_TK,
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
  public Pass begin(Saved x_TH, Tokens tokens) {
    int t = x_TH.dim(0);
    Tensor s_TE = gate.forwardFloats(x_TH.get());
    Tensor weight_TK = backend.arena().takeFloats(t, router.chosen());
    Indices chosen_TK = backend.route(router, s_TE, bias_E, weight_TK);
    ExpertRows sent = backend.expertRows(chosen_TK, router.experts());
    if (tokens.recording()) {
      backend.countRows(sent.offsets_E1(), tokens_E);
    }
    ExpertExchange exchange = new ExpertExchange(sent, backend, group);
    Arena.Region region = backend.arena().innermost();
    Pass p = new Pass(x_TH, region.save(s_TE), chosen_TK, weight_TK, exchange, region);
    p.rows = exchange.rows(x_TH.get());
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
    p.x_RH = p.memory.save(p.exchange.group(p.rows));
    Tensor gu_RFF = backend.arena().take(p.x_RH.dim(0), 2 * width);
    Tensor h_RF = backend.arena().take(p.x_RH.dim(0), width);
    backend.groupedSwiGlu(p.x_RH.get(), gateUp_EFFH.value(), p.exchange.offsets_E1(), gu_RFF, h_RF);
    p.gu_RFF = p.memory.save(gu_RFF);
    p.h_RF = p.memory.save(h_RF);
    Tensor y_RH = results(p);
    p.rows = p.exchange.ungroup(y_RH);
    if (memory.recompute().contains(Recompute.expertDown) && p.rows != y_RH) {
      p.memory.release(y_RH);
    }
    if (memory.fp8().contains(Fp8.expertInput)) {
      EightBits.keep(backend, p.x_RH);
    }
    if (memory.recompute().contains(Recompute.swiGlu)) {
      p.h_RF.drop(() -> gated(p.gu_RFF.get()));
    }
    if (memory.fp8().contains(Fp8.swiGluInput)) {
      EightBits.keep(backend, p.gu_RFF);
    }
    p.shared = shared == null ? null : shared.forward(p.x_TH);
  }

  private Tensor gated(Tensor gu_RFF) {
    Tensor h_RF = backend.arena().take(gu_RFF.dim(0), width);
    backend.swiGlu(gu_RFF, h_RF);
    return h_RF;
  }

  /** The down projection: results of this rank's experts. */
  private Tensor results(Pass p) {
    Tensor y_RH = backend.arena().take(p.h_RF.dim(0), p.x_TH.dim(1));
    backend.groupedLinear(p.h_RF.get(), down_EHF.value(), p.exchange.offsets_E1(), y_RH);
    return y_RH;
  }

  /** Brings the experts' results back: only exchanges. */
  void combine(Output out) {
    Pass p = (Pass) out;
    p.returned_SH = p.exchange.back(p.rows, p.memory);
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
    backend.combineRows(p.returned_SH, p.exchange.slot_TK(), p.weight_TK, p.y_TH);
    if (memory.recompute().contains(Recompute.expertDown)) {
      p.memory.release(p.returned_SH);
      if (p.rows != p.returned_SH) {
        p.memory.release(p.rows);
      }
    } else {
      p.y_SH = p.memory.save(p.returned_SH);
    }
    p.returned_SH = null;
    p.rows = null;
  }

  /**
   * The gradient of each expert's result. When results are computed again, at the expert, rows
   * travel without their weight, which goes along in a column of its own: the gradient of a weight
   * is the product of both.
   */
  @Override
  public void backwardBegin(Output out, Tensor dy_TH) {
    Pass p = (Pass) out;
    p.backwardMemory = backend.arena().innermost();
    p.dy_TH = dy_TH;
    int s = p.chosen_TK.size();
    int h = dy_TH.dim(1);
    p.dweight_TK = backend.arena().takeFloats(dy_TH.dim(0), router.chosen());
    if (p.y_SH == null) {
      p.rows = backend.arena().take(s, h + 1);
      Tensor dy_SH = p.exchange.rows(dy_TH);
      backend.joinColumns(dy_SH, p.exchange.column(p.weight_TK), p.rows);
      p.backwardMemory.release(dy_SH);
    } else {
      p.rows = backend.arena().take(s, h);
      backend.combineRowsBackward(
          dy_TH, p.y_SH.get(), p.exchange.slot_TK(), p.weight_TK, p.rows, p.dweight_TK);
    }
  }

  /** Brings the results' gradients to the experts: only exchanges. */
  void combineBackward(Output out) {
    Pass p = (Pass) out;
    p.rows = p.exchange.there(p.rows, p.backwardMemory);
  }

  /** The gradients of the inputs of this rank's experts, and of the shared ones. */
  void expertsBackward(Output out) {
    Pass p = (Pass) out;
    Indices offsets_E1 = p.exchange.offsets_E1();
    int h = p.x_TH.dim(1);
    Tensor arrived_RC = p.exchange.group(p.rows);
    int r = arrived_RC.dim(0);
    Tensor dweight_R1 = null;
    if (p.y_SH == null) {
      dweight_R1 = backend.arena().takeFloats(r, 1);
      p.dy_RH = weighted(p, arrived_RC, dweight_R1);
    } else {
      p.dy_RH = arrived_RC;
    }
    Tensor dh_RF = backend.arena().take(r, width);
    backend.groupedLinearBackwardInput(p.dy_RH, down_EHF.value(), offsets_E1, dh_RF);
    p.dgu_RFF = backend.arena().take(r, 2 * width);
    backend.swiGluBackward(dh_RF, p.gu_RFF.get(), p.dgu_RFF);
    Tensor dx_RH = backend.arena().take(r, h);
    backend.groupedLinearBackwardInput(p.dgu_RFF, gateUp_EFFH.value(), offsets_E1, dx_RH);
    if (dweight_R1 != null) {
      Tensor both_RC = backend.arena().take(r, h + 1);
      backend.joinColumns(dx_RH, dweight_R1, both_RC);
      p.backwardMemory.release(dx_RH);
      dx_RH = both_RC;
    }
    p.rows = p.exchange.ungroup(dx_RH);
    if (shared != null) {
      shared.backwardBegin(p.shared, p.dy_TH);
      p.dshared_TH = shared.backwardInput(p.shared);
    }
  }

  /** Rows times the weights in their last column, and the weights' gradients. */
  private Tensor weighted(Pass p, Tensor arrived_RC, Tensor dweight_R1) {
    int r = arrived_RC.dim(0);
    int h = arrived_RC.dim(1) - 1;
    Tensor alone_RH = backend.arena().take(r, h);
    Tensor weight_R1 = backend.arena().takeFloats(r, 1);
    backend.splitColumns(arrived_RC, alone_RH, weight_R1);
    p.backwardMemory.release(arrived_RC);
    Tensor y_RH = results(p);
    Tensor dy_RH = backend.arena().take(r, h);
    backend.combineRowsBackward(alone_RH, y_RH, backend.range(r), weight_R1, dy_RH, dweight_R1);
    p.backwardMemory.release(alone_RH);
    p.backwardMemory.release(y_RH);
    return dy_RH;
  }

  /** Brings the gradients of tokens back from the experts: only exchanges. */
  void dispatchBackward(Output out) {
    Pass p = (Pass) out;
    p.rows = p.exchange.back(p.rows, p.backwardMemory);
  }

  @Override
  public Tensor backwardFinish(Output out) {
    Pass p = (Pass) out;
    Tensor dx_SH = p.rows;
    if (p.y_SH == null) {
      dx_SH = backend.arena().take(p.rows.dim(0), p.x_TH.dim(1));
      Tensor dweight_S1 = backend.arena().takeFloats(p.rows.dim(0), 1);
      backend.splitColumns(p.rows, dx_SH, dweight_S1);
      p.exchange.fromColumn(dweight_S1, p.dweight_TK);
    }
    p.dlogits_TE = backend.arena().take(p.x_TH.dim(0), router.experts());
    backend.routeBackward(router, p.dweight_TK, p.s_TE.get(), p.chosen_TK, p.dlogits_TE);
    Tensor dx_TH = gate.backwardInput(p.dlogits_TE);
    if (shared != null) {
      backend.add(p.dshared_TH, dx_TH);
    }
    backend.combineRows(dx_SH, p.exchange.slot_TK(), null, dx_TH);
    return dx_TH;
  }

  /** Adds the gradients of the experts' weights, routed and shared. */
  void expertsBackwardWeight(Output out) {
    Pass p = (Pass) out;
    Indices offsets_E1 = p.exchange.offsets_E1();
    backend.groupedLinearBackwardWeight(p.dy_RH, p.h_RF.get(), offsets_E1, down_EHF.gradient());
    backend.groupedLinearBackwardWeight(
        p.dgu_RFF, p.x_RH.get(), offsets_E1, gateUp_EFFH.gradient());
    if (shared != null) {
      shared.backwardWeight(p.shared);
    }
  }

  /** Adds the gradient of the router's. */
  @Override
  public void backwardWeight(Output out) {
    Pass p = (Pass) out;
    gate.backwardWeight(p.dlogits_TE, p.x_TH.get());
  }
}
