package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.kernels.Dispatch.NONE;

import dev.perigee.engine.cuda.driver.Device;
import dev.perigee.engine.cuda.driver.DeviceArena;
import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.DeviceMemory;
import dev.perigee.engine.cuda.driver.Launcher;
import java.util.List;

/**
 * A mixture-of-experts layer, forward and backward: router, dispatch, routed and shared experts,
 * combine (DeepSeek-V3, section 2.1.2). Every call is a fixed list of launches over fixed memory,
 * whatever the routing, so one captured graph serves every step.
 *
 * <p>Legend: T tokens, H hidden, E experts, K chosen experts of a token, S = T · K rows, F width of
 * an expert, G = 2 F (gate, then up), D width of the shared expert, DD = 2 D, P parts of a sum.
 * bf16 throughout; sums, scores and weights of the router in float32.
 */
public final class MoeLayer {
  /**
   * Sizes of a layer.
   *
   * @param tokens T
   * @param hidden H
   * @param experts E
   * @param chosen K
   * @param width F
   * @param sharedWidth D: all shared experts as one, side by side
   * @param scale of the routed weights
   */
  public record Sizes(
      int tokens, int hidden, int experts, int chosen, int width, int sharedWidth, float scale) {
    /** Multiplications and additions of forward: routed, shared and router products. */
    public double flops() {
      return 2.0 * tokens * hidden * (3.0 * chosen * width + 3.0 * sharedWidth + experts);
    }
  }

  /** The layer's weights, or their gradients: the same shapes. bf16. */
  public record Weights(
      DeviceBuffer router_EH,
      DeviceBuffer up_EGH,
      DeviceBuffer down_EHF,
      DeviceBuffer sharedUp_DDH,
      DeviceBuffer sharedDown_HD) {
    /** Uninitialised memory for them. */
    public static Weights allocate(DeviceArena arena, Sizes z) {
      return new Weights(
          arena.allocate(2L * z.experts * z.hidden),
          arena.allocate(4L * z.experts * z.width * z.hidden),
          arena.allocate(2L * z.experts * z.width * z.hidden),
          arena.allocate(4L * z.sharedWidth * z.hidden),
          arena.allocate(2L * z.sharedWidth * z.hidden));
    }

    /** All of them, in order. */
    public List<DeviceBuffer> all() {
      return List.of(router_EH, up_EGH, down_EHF, sharedUp_DDH, sharedDown_HD);
    }
  }

  /** The layer's products run nowhere else. */
  private static final boolean HOPPER = true;

  private final Sizes z;
  private final int sms;
  private final int parts; // of the gradient of a routing weight
  private final Router router;
  private final Dispatch dispatch;
  private final GroupedGemm.Sizes up;
  private final GroupedGemm.Sizes down;
  private final GroupedGemm.Sizes sharedUp;
  private final GroupedGemm.Sizes sharedDown;
  private final GroupedGemm.Sizes logits;

  // Kept from forward to backward.
  private final DeviceBuffer expert_TK;
  private final DeviceBuffer score_TK;
  private final DeviceBuffer weight_TK;
  private final DeviceBuffer offsets_E1;
  private final DeviceBuffer slot_TK;
  private final DeviceBuffer order_S;
  private final DeviceBuffer x_SH;
  private final DeviceBuffer h_SG;
  private final DeviceBuffer a_SF; // forward's activation, then backward's weighted one
  private final DeviceBuffer h_TDD;
  private final DeviceBuffer a_TD;

  // Scratch.
  private final DeviceBuffer counts;
  private final DeviceBuffer all; // the offsets of one group with every token
  private final DeviceBuffer wide_SH; // y, then dout by row, then dx by row
  private final DeviceBuffer dh_SG;
  private final DeviceBuffer dweight_PTK;
  private final DeviceBuffer dlogit_TE;
  private final DeviceBuffer slices; // of the tokens, and the sums over each
  private final DeviceBuffer parts_PEH;
  private final DeviceBuffer shared_TH;
  private final DeviceBuffer router_TH;
  private final DeviceBuffer dh_TDD;

  /** Allocates the layer's activations in {@code arena}. */
  public MoeLayer(Device device, DeviceMemory arena, Sizes z) {
    this.z = z;
    this.sms = device.multiprocessors();
    this.parts = GroupedGemm.dweightParts(z.width);
    int rows = z.tokens * z.chosen;
    router = new Router(z.tokens, z.hidden, z.experts, z.chosen, z.scale);
    dispatch = new Dispatch(z.tokens, z.experts, z.chosen);
    up = new GroupedGemm.Sizes(z.experts, rows, z.hidden, 2 * z.width);
    down = new GroupedGemm.Sizes(z.experts, rows, z.width, z.hidden);
    sharedUp = new GroupedGemm.Sizes(1, z.tokens, z.hidden, 2 * z.sharedWidth);
    sharedDown = new GroupedGemm.Sizes(1, z.tokens, z.sharedWidth, z.hidden);
    logits = new GroupedGemm.Sizes(1, z.tokens, z.hidden, z.experts);
    expert_TK = arena.allocate(4L * rows);
    score_TK = arena.allocate(4L * rows);
    weight_TK = arena.allocate(4L * rows);
    offsets_E1 = arena.allocate(4L * (z.experts + 1));
    slot_TK = arena.allocate(4L * rows);
    order_S = arena.allocate(4L * rows);
    x_SH = arena.allocate(2L * rows * z.hidden);
    h_SG = arena.allocate(4L * rows * z.width);
    a_SF = arena.allocate(2L * rows * z.width);
    h_TDD = arena.allocate(4L * z.tokens * z.sharedWidth);
    a_TD = arena.allocate(2L * z.tokens * z.sharedWidth);
    counts = arena.allocate(dispatch.scratchBytes());
    wide_SH = arena.allocate(2L * rows * z.hidden);
    dh_SG = arena.allocate(4L * rows * z.width);
    dweight_PTK = arena.allocate(4L * parts * rows);
    dlogit_TE = arena.allocate(2L * z.tokens * z.experts);
    parts_PEH = arena.allocate(router.partsBytes());
    shared_TH = arena.allocate(2L * z.tokens * z.hidden);
    router_TH = arena.allocate(2L * z.tokens * z.hidden);
    dh_TDD = arena.allocate(4L * z.tokens * z.sharedWidth);
    all = arena.ints(device.compute(), 0, z.tokens);
    slices = arena.ints(device.compute(), router.slices());
    device.compute().synchronize();
  }

  /** The chosen experts of the last forward, int32. */
  public DeviceBuffer chosenExperts_TK() {
    return expert_TK;
  }

  /**
   * out = the weighted routed experts and the shared expert of x. The shared expert runs beside the
   * routed ones and fills the multiprocessors that they leave idle at the end of a product.
   *
   * @param beside a second lane, joined to {@code main} before the end
   * @param bias_E the router's bias, float32
   */
  public void forward(
      Launcher main,
      Launcher beside,
      Weights w,
      DeviceBuffer bias_E,
      DeviceBuffer x_TH,
      DeviceBuffer out_TH) {
    beside.after(main);
    main.launch(router.forward(sms, x_TH, w.router_EH, bias_E, expert_TK, score_TK, weight_TK));
    dispatch.plan(expert_TK, counts, offsets_E1, slot_TK, order_S).forEach(main::launch);
    main.launch(dispatch.rowsToExperts(HOPPER, x_TH, slot_TK, x_SH, z.hidden));
    main.launch(GroupedGemm.forwardSwiGlu(sms, up, x_SH, w.up_EGH, offsets_E1, h_SG, a_SF));
    main.launch(GroupedGemm.forward(sms, down, a_SF, w.down_EHF, offsets_E1, wide_SH));

    beside.launch(GroupedGemm.forwardSwiGlu(sms, sharedUp, x_TH, w.sharedUp_DDH, all, h_TDD, a_TD));
    beside.launch(GroupedGemm.forward(sms, sharedDown, a_TD, w.sharedDown_HD, all, shared_TH));

    main.after(beside);
    main.launch(dispatch.combine(wide_SH, slot_TK, weight_TK, shared_TH, NONE, out_TH, z.hidden));
  }

  /**
   * The gradients of the last forward's input and weights, which are written, not added.
   *
   * @param beside a second lane, joined to {@code main} before the end
   * @param x_TH forward's input, unchanged
   */
  public void backward(
      Launcher main,
      Launcher beside,
      Weights w,
      DeviceBuffer x_TH,
      DeviceBuffer dout_TH,
      DeviceBuffer dx_TH,
      Weights dw) {
    beside.after(main);
    main.launch(dispatch.rowsToExperts(HOPPER, dout_TH, slot_TK, wide_SH, z.hidden));
    main.launch(
        GroupedGemm.inputGradientSwiGlu(
            sms,
            down,
            wide_SH,
            w.down_EHF,
            offsets_E1,
            h_SG,
            order_S,
            weight_TK,
            dh_SG,
            a_SF,
            dweight_PTK));

    beside.launch(
        GroupedGemm.inputGradientSwiGlu(
            sms, sharedDown, dout_TH, w.sharedDown_HD, all, h_TDD, NONE, NONE, dh_TDD, a_TD, NONE));
    beside.after(main); // the weights' gradient is there
    beside.launch(router.backward(expert_TK, score_TK, dweight_PTK, parts, dlogit_TE));
    router
        .weightGradient(sms, dlogit_TE, x_TH, slices, parts_PEH, dw.router_EH)
        .forEach(beside::launch);
    beside.launch(GroupedGemm.inputGradient(sms, logits, dlogit_TE, w.router_EH, all, router_TH));

    main.launch(GroupedGemm.weightGradient(sms, down, wide_SH, a_SF, offsets_E1, dw.down_EHF));
    main.launch(GroupedGemm.weightGradient(sms, up, dh_SG, x_SH, offsets_E1, dw.up_EGH));
    main.launch(GroupedGemm.inputGradient(sms, up, dh_SG, w.up_EGH, offsets_E1, wide_SH));

    beside.launch(
        GroupedGemm.weightGradient(sms, sharedDown, dout_TH, a_TD, all, dw.sharedDown_HD));
    beside.launch(GroupedGemm.weightGradient(sms, sharedUp, dh_TDD, x_TH, all, dw.sharedUp_DDH));
    beside.launch(GroupedGemm.inputGradient(sms, sharedUp, dh_TDD, w.sharedUp_DDH, all, shared_TH));

    main.after(beside);
    main.launch(dispatch.combine(wide_SH, slot_TK, NONE, shared_TH, router_TH, dx_TH, z.hidden));
  }
}
