package dev.perigee.engine.backend;

/** A float64 sum where a backend computes, which operations add to. */
public interface Sum {
  /** Makes it zero. */
  void clear();

  /** What it has come to; waits for the operations that add to it. */
  double value();

  /** A sum on the host. */
  final class OnHost implements Sum {
    private double value;

    /** Adds on the host. */
    public void add(double x) {
      value += x;
    }

    @Override
    public void clear() {
      value = 0;
    }

    @Override
    public double value() {
      return value;
    }
  }
}
