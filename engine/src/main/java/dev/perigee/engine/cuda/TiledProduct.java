package dev.perigee.engine.cuda;

import static dev.perigee.engine.cuda.driver.Launch.integer;
import static dev.perigee.engine.cuda.driver.Launch.real;

import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.Launcher;
import java.util.List;

/** Products by our own kernel without tensor cores: {@code src/main/cuda/product.cu}. */
final class TiledProduct implements Product {
  private static final int TILE = 64;
  private static final int MOST_BLOCKS = 65535; // of a grid's second and third dimension

  private final Launcher launcher;

  TiledProduct(Launcher launcher) {
    this.launcher = launcher;
  }

  @Override
  public void multiply(Sizes s, float alpha, Operand a, Operand b, float beta, Operand c) {
    launcher.launch(launch(s, alpha, a, b, beta, c));
  }

  static Launch launch(Sizes s, float alpha, Operand a, Operand b, float beta, Operand c) {
    if (a.bf16() != b.bf16() || (c.bf16() && !a.bf16()) || s.count() > MOST_BLOCKS) {
      throw new IllegalArgumentException(
          "a product takes two operands of one type into float32 or, of bf16, into bf16, at most "
              + MOST_BLOCKS
              + " at a time: "
              + s);
    }
    return new Launch(
        "product",
        c.bf16() ? "product_bf16_to_bf16" : a.bf16() ? "product_bf16" : "product_float",
        new Launch.Dim(
            (s.n() + TILE - 1) / TILE, Math.min((s.m() + TILE - 1) / TILE, MOST_BLOCKS), s.count()),
        Launch.Dim.of(256),
        0,
        List.of(
            new Launch.Argument.Address(a.address()),
            new Launch.Argument.Address(b.address()),
            new Launch.Argument.Address(c.address()),
            integer(s.transposeA() ? 1 : 0),
            integer(s.transposeB() ? 1 : 0),
            integer(s.m()),
            integer(s.n()),
            integer(s.k()),
            integer(a.rowStride()),
            integer(b.rowStride()),
            integer(c.rowStride()),
            new Launch.Argument.Int64(a.stride()),
            new Launch.Argument.Int64(b.stride()),
            new Launch.Argument.Int64(c.stride()),
            real(alpha),
            real(beta)),
        s.toString());
  }

  @Override
  public void close() {}
}
