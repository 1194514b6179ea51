package dev.perigee.engine.cuda.kernels;

import static dev.perigee.engine.cuda.driver.Launch.address;
import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.map;
import static dev.perigee.engine.cuda.driver.Launch.real;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.TensorMap;
import java.util.ArrayList;
import java.util.List;

/**
 * Newton and Schulz's iteration X ← aX + b(XXᵀ)X + c(XXᵀ)²X for {@link Muon}, in either of its
 * forms, as launches of {@code newton_schulz.cu}, which derives both.
 *
 * <p>Legend: as {@link Muon}. Everything is bf16.
 */
final class NewtonSchulz {
  /**
   * Memory of the iteration.
   *
   * @param x_BNM what is orthogonalised, overwritten
   * @param next_BNM of the same size
   * @param squares_BKK two matrices; four for the Gram form where two have no room in an iterate
   * @param norm2_B the squared norms of x, float32
   */
  record Memory(
      DeviceBuffer x_BNM,
      DeviceBuffer next_BNM,
      List<DeviceBuffer> squares_BKK,
      DeviceBuffer norm2_B) {}

  private final Muon m;
  private final int multiprocessors;
  private final boolean tall;
  private final int k;
  private final List<Launch> launches = new ArrayList<>();

  NewtonSchulz(Muon m, int multiprocessors) {
    this.m = m;
    this.multiprocessors = multiprocessors;
    tall = m.rows() > m.columns();
    k = m.small();
  }

  /** In their order. */
  List<Launch> launches() {
    return launches;
  }

  /** Adds the launches of all steps; where they leave the result. */
  DeviceBuffer orthogonalize(Memory z) {
    Muon.Rule rule = m.rule();
    // P = c S S + (a - b²/4c) I with S = G + b/2c I.
    float shift = rule.b() / (2 * rule.c());
    float rest = rule.a() - rule.b() * rule.b() / (4 * rule.c());
    DeviceBuffer shifted = z.squares_BKK.get(0);
    DeviceBuffer polynomial = z.squares_BKK.get(1);
    DeviceBuffer x = z.x_BNM;
    DeviceBuffer next = z.next_BNM;
    DeviceBuffer norm2 = z.norm2_B; // divides the first time
    for (int step = 0; step < rule.steps(); ) {
      if (m.form() == Muon.Form.GRAM && step + 1 < rule.steps()) {
        boolean apart = z.squares_BKK.size() == 4;
        long bytes = shifted.bytes();
        DeviceBuffer gram = apart ? z.squares_BKK.get(2) : next.slice(0, bytes);
        DeviceBuffer second = apart ? z.squares_BKK.get(3) : next.slice(bytes, bytes);
        gram(x, norm2, shift, shifted, gram);
        symmetric(shifted, shifted, rule.c(), rest, polynomial);
        symmetric(polynomial, gram, 1, 0, second);
        symmetric(second, polynomial, 1, shift, shifted);
        symmetric(shifted, shifted, rule.c(), rest, second);
        symmetric(polynomial, second, 1, 0, shifted);
        multiply(shifted, x, norm2, next);
        step += 2;
      } else {
        gram(x, norm2, shift, shifted);
        symmetric(shifted, shifted, rule.c(), rest, polynomial);
        multiply(polynomial, x, norm2, next);
        step++;
      }
      norm2 = Dispatch.NONE;
      DeviceBuffer swap = x;
      x = next;
      next = swap;
    }
    return x;
  }

  /**
   * XXᵀ or XᵀX over norm2 if there is one, plus shift · I; without the shift into {@code plain}.
   */
  private void gram(
      DeviceBuffer x,
      DeviceBuffer norm2,
      float shift,
      DeviceBuffer shifted,
      DeviceBuffer... plain) {
    List<Launch.Argument> further = new ArrayList<>();
    for (DeviceBuffer b : plain) {
      further.add(map(square(b, 64)));
    }
    add(
        (tall ? "symmetric_tall" : "symmetric_wide") + (plain.length == 0 ? "" : "_two"),
        TensorMap.of(x, m.matrices(), m.rows(), m.columns(), tall ? 64 : 128),
        TensorMap.of(x, m.matrices(), m.rows(), m.columns(), tall ? 64 : 256),
        square(shifted, 64),
        norm2,
        k,
        k,
        Math.max(m.rows(), m.columns()),
        /* factor */ 1,
        shift,
        /* power */ -1,
        further);
  }

  /** factor · a · b + shift · I, of symmetric matrices that commute. */
  private void symmetric(
      DeviceBuffer a, DeviceBuffer b, float factor, float shift, DeviceBuffer to) {
    add(
        "symmetric_wide",
        square(a, 128),
        square(b, 256),
        square(to, 64),
        Dispatch.NONE,
        k,
        k,
        k,
        factor,
        shift,
        /* power */ 0,
        List.of());
  }

  /** p · X or X · p, over the root of norm2 if there is one. */
  private void multiply(DeviceBuffer p, DeviceBuffer x, DeviceBuffer norm2, DeviceBuffer to) {
    add(
        tall ? "product_tall" : "product_wide",
        tall ? TensorMap.of(x, m.matrices(), m.rows(), m.columns(), 128) : square(p, 128),
        tall ? square(p, 256) : TensorMap.of(x, m.matrices(), m.rows(), m.columns(), 64),
        TensorMap.of(to, m.matrices(), m.rows(), m.columns(), 64),
        norm2,
        m.rows(),
        m.columns(),
        k,
        /* factor */ 1,
        /* shift */ 0,
        /* power */ -0.5f,
        List.of());
  }

  private TensorMap square(DeviceBuffer b, int boxRows) {
    return TensorMap.of(b, m.matrices(), k, k, boxRows);
  }

  private void add(
      String kernel,
      TensorMap a,
      TensorMap b,
      TensorMap d,
      DeviceBuffer norm2,
      int resultRows,
      int resultColumns,
      int depth,
      float factor,
      float shift,
      float power,
      List<Launch.Argument> further) {
    List<Launch.Argument> arguments =
        new ArrayList<>(
            List.of(
                map(a),
                map(b),
                map(d),
                address(norm2),
                integer(m.matrices()),
                integer(resultRows),
                integer(resultColumns),
                integer(depth),
                real(factor),
                real(shift),
                real(power)));
    arguments.addAll(further);
    launches.add(
        new Launch(
            "newton_schulz",
            "newton_schulz_" + kernel,
            Launch.Dim.of(multiprocessors),
            Launch.Dim.of(384),
            GroupedGemm.SHARED_BYTES,
            arguments,
            m.toString()));
  }
}
