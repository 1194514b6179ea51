package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Saved;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunConfig.Memory.Fp8;
import dev.perigee.run.RunConfig.Memory.Recompute;

/** down(silu(gate x) ⊙ up x): a dense layer's feed-forward part, and the shared experts'. */
final class DenseFfn implements FeedForward {
  private final Backend backend;
  private final RunConfig.Memory memory;
  private final Linear gateUp;
  private final Linear down;
  private final int width;

  /** Weights {@code prefix.gate_proj}, {@code .up_proj} and {@code .down_proj}. */
  DenseFfn(
      String prefix,
      int hidden,
      int width,
      RunConfig.Memory memory,
      Backend backend,
      ParameterStore store) {
    this.backend = backend;
    this.memory = memory;
    this.width = width;
    this.gateUp = new Linear(backend, store.gateUp(prefix, width, hidden));
    this.down = new Linear(backend, store.matrix(prefix + ".down_proj.weight", hidden, width));
  }

  /** What a forward pass leaves, and then a backward one. */
  static final class Pass implements Output {
    private final Saved x_TH;
    private final Saved gu_TFF;
    private final Saved h_TF;
    private final Tensor y_TH;
    private Tensor dy_TH;
    private Tensor dgu_TFF;

    private Pass(Saved x_TH, Saved gu_TFF, Saved h_TF, Tensor y_TH) {
      this.x_TH = x_TH;
      this.gu_TFF = gu_TFF;
      this.h_TF = h_TF;
      this.y_TH = y_TH;
    }

    @Override
    public Tensor y_TH() {
      return y_TH;
    }
  }

  @Override
  public Pass begin(Saved x_TH, Tokens tokens) {
    return forward(x_TH);
  }

  /** All of it: there is nothing to wait for. */
  Pass forward(Saved x_TH) {
    Arena.Region region = backend.arena().innermost();
    Saved gu_TFF = region.save(gateUp.forward(x_TH.get()));
    Saved h_TF = region.save(gated(gu_TFF.get()));
    Tensor y_TH = down.forward(h_TF.get());
    if (memory.recompute().contains(Recompute.swiGlu)) {
      h_TF.drop(() -> gated(gu_TFF.get()));
    }
    if (memory.fp8().contains(Fp8.swiGluInput)) {
      EightBits.keep(backend, gu_TFF);
    }
    return new Pass(x_TH, gu_TFF, h_TF, y_TH);
  }

  private Tensor gated(Tensor gu_TFF) {
    Tensor h_TF = backend.arena().take(gu_TFF.dim(0), width);
    backend.swiGlu(gu_TFF, h_TF);
    return h_TF;
  }

  @Override
  public void finish(Output out) {
    // The beginning did it all.
  }

  @Override
  public void backwardBegin(Output out, Tensor dy_TH) {
    ((Pass) out).dy_TH = dy_TH;
  }

  @Override
  public Tensor backwardFinish(Output out) {
    return backwardInput((Pass) out);
  }

  /** All of it, after {@link #backwardBegin}. */
  Tensor backwardInput(Pass pass) {
    Tensor dh_TF = down.backwardInput(pass.dy_TH);
    pass.dgu_TFF = backend.arena().take(dh_TF.dim(0), 2 * width);
    backend.swiGluBackward(dh_TF, pass.gu_TFF.get(), pass.dgu_TFF);
    return gateUp.backwardInput(pass.dgu_TFF);
  }

  @Override
  public void backwardWeight(Output out) {
    Pass pass = (Pass) out;
    down.backwardWeight(pass.dy_TH, pass.h_TF.get());
    gateUp.backwardWeight(pass.dgu_TFF, pass.x_TH.get());
  }
}
