package dev.perigee.engine.bench;

import java.util.List;

/**
 * A line of the GPU's table.
 *
 * @param unit what {@code amount} counts
 * @param amount useful operations, or bytes that must move
 * @param memory bytes that ours takes beside inputs and results; 0 where it takes none to speak of
 * @param ours queues the work on the lab's stream
 * @param error ours against a plain kernel or the CPU, or NaN where only a test checks it
 * @param baselines names of cases of {@code gpu_baselines.py}
 */
record GpuCase(
    String name,
    Unit unit,
    double amount,
    long memory,
    Runnable ours,
    double error,
    List<String> baselines) {
  GpuCase(
      String name, Unit unit, double amount, Runnable ours, double error, List<String> baselines) {
    this(name, unit, amount, 0, ours, error, baselines);
  }

  /** What bounds a case, and so which ceiling it is held against. */
  enum Unit {
    /** Arithmetic: against a dense product. */
    TERAFLOPS("TF", 1e9),
    /** Memory: against a copy. */
    GIGABYTES("GB/s", 1e6);

    final String text;

    /** Divides amount per millisecond. */
    final double scale;

    Unit(String text, double scale) {
      this.text = text;
      this.scale = scale;
    }
  }
}
