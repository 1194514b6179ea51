package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.Launch.address;
import static dev.perigee.engine.cuda.Launch.integer;
import static dev.perigee.engine.cuda.Launch.real;

import dev.perigee.engine.backend.AdamWRule;
import dev.perigee.engine.backend.AttentionShape;
import dev.perigee.engine.backend.RouterShape;
import java.util.List;

/**
 * Launches of the simple kernels, most of them on float32 numbers, one method each; a kernel's name
 * begins with its file's in {@code src/main/cuda}. What they compute is said there and in {@link
 * dev.perigee.engine.backend.Backend}, whose order and letters this follows.
 */
final class FloatKernels {
  /** A missing operand. */
  static final DeviceBuffer NONE = new DeviceBuffer(0, 0);

  private static final int THREADS = 256;

  /** Enough blocks to fill any chip; kernels over elements stride. */
  private static final int MOST_BLOCKS = 4096;

  private FloatKernels() {}

  // Vectors.

  static Launch fill(DeviceBuffer x, float value) {
    return elements("vector", "vector_fill", count(x), address(x), real(value), whole(count(x)));
  }

  static Launch axpby(float a, DeviceBuffer x, float b, DeviceBuffer y) {
    return elements(
        "vector",
        "vector_axpby",
        count(x),
        real(a),
        address(x),
        real(b),
        address(y),
        whole(count(x)));
  }

  static Launch axpbyBf16(float a, DeviceBuffer x, float b, DeviceBuffer y) {
    long n = x.bytes() / 2;
    return elements(
        "vector", "vector_axpby_bf16", n, real(a), address(x), real(b), address(y), whole(n));
  }

  static Launch toBf16(DeviceBuffer x, DeviceBuffer y) {
    return elements("vector", "vector_to_bf16", count(x), address(x), address(y), whole(count(x)));
  }

  static Launch fromBf16(DeviceBuffer x, DeviceBuffer y) {
    return elements(
        "vector", "vector_from_bf16", count(y), address(x), address(y), whole(count(y)));
  }

  /** Float64 numbers that {@link #squareParts} writes for so many elements. */
  static int squareParts(long elements) {
    return blocks(elements);
  }

  static Launch squareParts(DeviceBuffer x, DeviceBuffer parts) {
    return elements(
        "vector", "vector_square_parts", count(x), address(x), address(parts), whole(count(x)));
  }

  static Launch sumDoubles(DeviceBuffer x, int n, DeviceBuffer total) {
    return launch(
        "vector",
        "vector_sum_doubles",
        Launch.Dim.of(1),
        THREADS,
        0,
        n + " numbers",
        address(x),
        address(total),
        whole(n));
  }

  /** total += the sum of {@code n} float64 numbers. */
  static Launch addDoubles(DeviceBuffer x, int n, DeviceBuffer total) {
    return launch(
        "vector",
        "vector_add_doubles",
        Launch.Dim.of(1),
        THREADS,
        0,
        n + " numbers",
        address(x),
        address(total),
        whole(n));
  }

  /** total += the sum of float32 numbers, in float64. */
  static Launch addFloats(DeviceBuffer x, DeviceBuffer total) {
    return launch(
        "vector",
        "vector_add_floats",
        Launch.Dim.of(1),
        THREADS,
        0,
        count(x) + " numbers",
        address(x),
        address(total),
        whole(count(x)));
  }

  /**
   * One update of AdamW.
   *
   * @param rounded receives the weights in bf16, unless it is {@link #NONE}
   * @param rates four numbers, as in {@link CudaRates}
   */
  static Launch adamW(
      AdamWRule rule,
      DeviceBuffer gradient,
      DeviceBuffer mean,
      DeviceBuffer square,
      DeviceBuffer weight,
      DeviceBuffer rounded,
      DeviceBuffer rates) {
    return elements(
        "adamw",
        "adamw_update",
        count(weight),
        address(gradient),
        address(mean),
        address(square),
        address(weight),
        address(rounded),
        address(rates),
        whole(count(weight)),
        real(rule.beta1()),
        real(rule.beta2()),
        real(rule.epsilon()),
        real((float) rule.weightDecay()));
  }

  // Rows and columns.

  static Launch splitColumns(
      DeviceBuffer x, DeviceBuffer left, DeviceBuffer right, int rows, int a, int b) {
    return elements(
        "columns",
        "columns_split",
        (long) rows * (a + b),
        address(x),
        address(left),
        address(right),
        integer(rows),
        integer(a),
        integer(b));
  }

  static Launch joinColumns(
      DeviceBuffer left, DeviceBuffer right, DeviceBuffer x, int rows, int a, int b) {
    return elements(
        "columns",
        "columns_join",
        (long) rows * (a + b),
        address(left),
        address(right),
        address(x),
        integer(rows),
        integer(a),
        integer(b));
  }

  static Launch gatherRows(DeviceBuffer x, DeviceBuffer rows, DeviceBuffer y, int n, int width) {
    return rows(
        "rows", "rows_gather", n, width, address(x), address(rows), address(y), integer(width));
  }

  static Launch spreadRows(
      DeviceBuffer x, DeviceBuffer slot, DeviceBuffer y, int pairs, int chosen, int width) {
    return rows(
        "rows",
        "rows_spread",
        pairs,
        width,
        address(x),
        address(slot),
        address(y),
        integer(chosen),
        integer(width));
  }

  static Launch countRows(DeviceBuffer offsets, DeviceBuffer count, int experts) {
    return elements(
        "rows", "rows_count", experts, address(offsets), address(count), integer(experts));
  }

  /** x[i] = i, int32. */
  static Launch range(DeviceBuffer x, int n) {
    return elements("rows", "rows_range", n, address(x), integer(n));
  }

  /** y[ids[t]] += x[t] for {@code n} rows. */
  static Launch addById(DeviceBuffer x, DeviceBuffer ids, DeviceBuffer y, int n, int width) {
    return launch(
        "rows",
        "rows_add_by_id",
        Launch.Dim.of(n),
        THREADS,
        0,
        n + " rows of " + width,
        address(x),
        address(ids),
        address(y),
        integer(n),
        integer(width));
  }

  static Launch combineRows(
      DeviceBuffer x,
      DeviceBuffer slot,
      DeviceBuffer weight,
      DeviceBuffer y,
      int tokens,
      int chosen,
      int width) {
    return rows(
        "rows",
        "rows_combine",
        tokens,
        width,
        address(x),
        address(slot),
        address(weight),
        address(y),
        integer(chosen),
        integer(width));
  }

  static Launch combineRowsBackward(
      DeviceBuffer dy,
      DeviceBuffer x,
      DeviceBuffer slot,
      DeviceBuffer weight,
      DeviceBuffer dx,
      DeviceBuffer dweight,
      int pairs,
      int chosen,
      int width) {
    return launch(
        "rows",
        "rows_combine_backward",
        Launch.Dim.of(pairs),
        128,
        0,
        pairs + " rows of " + width,
        address(dy),
        address(x),
        address(slot),
        address(weight),
        address(dx),
        address(dweight),
        integer(chosen),
        integer(width));
  }

  static Launch combineRowsBackwardBf16(
      DeviceBuffer dy,
      DeviceBuffer x,
      DeviceBuffer slot,
      DeviceBuffer weight,
      DeviceBuffer dx,
      DeviceBuffer dweight,
      int pairs,
      int chosen,
      int width) {
    return launch(
        "rows",
        "rows_combine_backward_bf16",
        Launch.Dim.of(pairs),
        128,
        0,
        pairs + " rows of " + width,
        address(dy),
        address(x),
        address(slot),
        address(weight),
        address(dx),
        address(dweight),
        integer(chosen),
        integer(width / 8));
  }

  // Layers.

  static Launch rmsNorm(
      DeviceBuffer x,
      DeviceBuffer gain,
      float epsilon,
      DeviceBuffer y,
      DeviceBuffer scale,
      int rows,
      int width) {
    return rows(
        "rms_norm",
        "rms_norm_forward",
        rows,
        width,
        address(x),
        address(gain),
        real(epsilon),
        address(y),
        address(scale),
        integer(width));
  }

  static Launch rmsNormBackwardInput(
      DeviceBuffer dy,
      DeviceBuffer x,
      DeviceBuffer gain,
      DeviceBuffer scale,
      DeviceBuffer dx,
      int rows,
      int width,
      boolean accumulate) {
    return rows(
        "rms_norm",
        "rms_norm_backward_input",
        rows,
        width,
        address(dy),
        address(x),
        address(gain),
        address(scale),
        address(dx),
        integer(width),
        integer(accumulate ? 1 : 0));
  }

  /** Parts that the sum over the rows is cut into; each takes {@code width} numbers. */
  static int slices(int rows) {
    return Math.clamp((rows + 63) / 64, 1, 64);
  }

  static Launch rmsNormBackwardWeight(
      boolean bf16,
      DeviceBuffer dy,
      DeviceBuffer x,
      DeviceBuffer scale,
      DeviceBuffer parts,
      int rows,
      int width) {
    return new Launch(
        "rms_norm",
        bf16 ? "rms_norm_backward_weight_bf16" : "rms_norm_backward_weight",
        new Launch.Dim((width + 31) / 32, slices(rows), 1),
        new Launch.Dim(32, 8, 1),
        0,
        List.of(
            address(dy), address(x), address(scale), address(parts), integer(rows), integer(width)),
        rows + " rows of " + width);
  }

  static Launch addSlices(DeviceBuffer parts, DeviceBuffer sum, int slices, int width) {
    return launch(
        "rms_norm",
        "rms_norm_add_slices",
        Launch.Dim.of((width + THREADS - 1) / THREADS),
        THREADS,
        0,
        slices + " slices of " + width,
        address(parts),
        address(sum),
        integer(slices),
        integer(width));
  }

  static Launch swiGlu(DeviceBuffer gu, DeviceBuffer h, int rows, int width) {
    return elements(
        "silu_gate",
        "silu_gate_forward",
        (long) rows * width,
        address(gu),
        address(h),
        integer(rows),
        integer(width));
  }

  static Launch swiGluBackward(
      DeviceBuffer dh, DeviceBuffer gu, DeviceBuffer dgu, int rows, int width) {
    return elements(
        "silu_gate",
        "silu_gate_backward",
        (long) rows * width,
        address(dh),
        address(gu),
        address(dgu),
        integer(rows),
        integer(width));
  }

  static Launch rotate(
      DeviceBuffer x,
      DeviceBuffer positions,
      DeviceBuffer cos,
      DeviceBuffer sin,
      int rows,
      int columns,
      int width,
      int pairs,
      boolean inverse) {
    return launch(
        "rotate",
        "rotate_pairs",
        Launch.Dim.of(rows),
        128,
        0,
        rows + " rows of " + columns,
        address(x),
        address(positions),
        address(cos),
        address(sin),
        integer(columns),
        integer(width),
        integer(pairs),
        real(inverse ? -1 : 1));
  }

  // Attention, one sequence at a time.

  static Launch joinKeys(
      AttentionShape s, DeviceBuffer kv, DeviceBuffer k, boolean bf16, DeviceBuffer joined) {
    return elements(
        "attention",
        bf16 ? "attention_join_keys_bf16" : "attention_join_keys",
        (long) s.heads() * s.length() * (s.nope() + s.rope()),
        address(kv),
        address(k),
        address(joined),
        integer(s.length()),
        integer(s.heads()),
        integer(s.nope()),
        integer(s.rope()),
        integer(s.value()));
  }

  static Launch splitKeys(
      AttentionShape s, DeviceBuffer joined, DeviceBuffer dkv, DeviceBuffer dk) {
    return rows(
        "attention",
        "attention_split_keys",
        s.length(),
        s.heads() * (s.nope() + s.rope()),
        address(joined),
        address(dkv),
        address(dk),
        integer(s.length()),
        integer(s.heads()),
        integer(s.nope()),
        integer(s.rope()),
        integer(s.value()));
  }

  /** Each row sees one column more than the one before it. */
  static Launch causalSoftmax(DeviceBuffer p, DeviceBuffer most, int length, int heads) {
    return softmax(p, most, NONE, length, heads, length);
  }

  /** The rows of {@code b} see the first {@code lengths[b]} columns; the rest become zero. */
  static Launch softmax(DeviceBuffer p, DeviceBuffer lengths_B, int rows, int batch, int columns) {
    return softmax(p, NONE, lengths_B, rows, batch, columns);
  }

  private static Launch softmax(
      DeviceBuffer p, DeviceBuffer most, DeviceBuffer lengths, int rows, int heads, int columns) {
    return launch(
        "attention",
        "attention_softmax",
        new Launch.Dim(rows, heads, 1),
        THREADS,
        0,
        heads + " heads, " + rows + " rows of " + columns,
        address(p),
        address(most),
        address(lengths),
        integer(columns));
  }

  static Launch softmaxBackward(
      AttentionShape s, DeviceBuffer p, DeviceBuffer dp, DeviceBuffer dout, DeviceBuffer out) {
    return launch(
        "attention",
        "attention_softmax_backward",
        new Launch.Dim(s.length(), s.heads(), 1),
        THREADS,
        0,
        s.toString(),
        address(p),
        address(dp),
        address(dout),
        address(out),
        integer(s.length()),
        integer(s.value()),
        real(s.scale()));
  }

  static Launch appendRope(
      AttentionShape s, DeviceBuffer q, DeviceBuffer absorbed, int rows, int rank) {
    return elements(
        "attention",
        "attention_append_rope",
        (long) rows * s.rope(),
        address(q),
        address(absorbed),
        integer(rows),
        integer(s.nope()),
        integer(s.rope()),
        integer(rank));
  }

  // Routing and loss.

  static Launch route(
      RouterShape s,
      DeviceBuffer logits,
      DeviceBuffer bias,
      DeviceBuffer chosen,
      DeviceBuffer weight,
      int tokens) {
    return launch(
        "route",
        "route_forward",
        Launch.Dim.of(tokens),
        32,
        4 * (s.experts() + 2 * s.groups()),
        tokens + " tokens, " + s,
        address(logits),
        address(bias),
        address(chosen),
        address(weight),
        integer(s.experts()),
        integer(s.chosen()),
        integer(s.groups()),
        integer(s.chosenGroups()),
        integer(s.normalize() ? 1 : 0),
        real(s.scale()));
  }

  static Launch routeBackward(
      RouterShape s,
      DeviceBuffer dweight,
      DeviceBuffer scores,
      DeviceBuffer chosen,
      DeviceBuffer dlogits,
      int tokens) {
    return launch(
        "route",
        "route_backward",
        Launch.Dim.of(tokens),
        32,
        0,
        tokens + " tokens, " + s,
        address(dweight),
        address(scores),
        address(chosen),
        address(dlogits),
        integer(s.experts()),
        integer(s.chosen()),
        integer(s.normalize() ? 1 : 0),
        real(s.scale()));
  }

  static Launch crossEntropy(
      DeviceBuffer logits,
      DeviceBuffer targets,
      DeviceBuffer loss,
      int rows,
      int vocabulary,
      float scale) {
    return launch(
        "cross_entropy",
        "cross_entropy_rows",
        Launch.Dim.of(rows),
        512,
        0,
        rows + " rows of " + vocabulary,
        address(logits),
        address(targets),
        address(loss),
        integer(vocabulary),
        real(scale));
  }

  // Shapes of launches.

  private static long count(DeviceBuffer floats) {
    return floats.bytes() / 4;
  }

  private static Launch.Argument whole(long value) {
    return new Launch.Argument.Int64(value);
  }

  private static int blocks(long elements) {
    return (int) Math.min((elements + THREADS - 1) / THREADS, MOST_BLOCKS);
  }

  /** A thread for an element, as long as there are blocks. */
  private static Launch elements(
      String module, String kernel, long elements, Launch.Argument... arguments) {
    return launch(
        module,
        kernel,
        Launch.Dim.of(blocks(elements)),
        THREADS,
        0,
        elements + " elements",
        arguments);
  }

  /** A block for a row. */
  private static Launch rows(
      String module, String kernel, int rows, int width, Launch.Argument... arguments) {
    return launch(
        module,
        kernel,
        Launch.Dim.of(rows),
        Math.clamp(Math.ceilDiv(width, 32) * 32L, 32, THREADS),
        0,
        rows + " rows of " + width,
        arguments);
  }

  private static Launch launch(
      String module,
      String kernel,
      Launch.Dim grid,
      int threads,
      int shared,
      String sizes,
      Launch.Argument... arguments) {
    return new Launch(
        module, kernel, grid, Launch.Dim.of(threads), shared, List.of(arguments), sizes);
  }
}
