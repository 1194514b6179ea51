package dev.perigee.plan;

import java.util.Locale;

/** Numbers for people: three significant digits with a decimal unit. */
public final class Figures {
  private Figures() {}

  /** Bytes, for example {@code 28.9 GB}; decimal, so 1 GB is 10⁹ bytes. */
  public static String bytes(double bytes) {
    return scaled(bytes, 1000, "B", "kB", "MB", "GB", "TB", "PB", "EB");
  }

  /** The same for a whole number of them. */
  public static String bytes(long bytes) {
    return bytes((double) bytes);
  }

  /** Parameters, for example {@code 1026 B}. */
  public static String count(double count) {
    return scaled(count, 1000, "", "k", "M", "B", "T").strip();
  }

  /** The same for a whole number of them. */
  public static String count(long count) {
    return count((double) count);
  }

  /** Floating-point operations, for example {@code 65.7 GFLOP}. */
  public static String flops(double flops) {
    return scaled(
        flops, 1000, "FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP");
  }

  /** Seconds, for example {@code 4.71 ms}. */
  public static String seconds(double seconds) {
    if (seconds == 0) {
      return "0 s";
    }
    if (seconds < 1e-3) {
      return digits(seconds * 1e6) + " µs";
    }
    if (seconds < 1) {
      return digits(seconds * 1e3) + " ms";
    }
    if (seconds < 600) {
      return digits(seconds) + " s";
    }
    return seconds < 36_000 ? digits(seconds / 60) + " min" : digits(seconds / 3600) + " h";
  }

  /** A share as a percentage with one digit. */
  public static String percent(double share) {
    return String.format(Locale.ROOT, "%.1f %%", 100 * share);
  }

  private static String scaled(double value, double base, String... units) {
    int unit = 0;
    double shown = value;
    // What would be printed as 1000 belongs to the next unit.
    while (unit < units.length - 1 && Math.abs(shown) >= base - 0.5) {
      shown /= base;
      unit++;
    }
    return digits(shown) + " " + units[unit];
  }

  private static String digits(double value) {
    double size = Math.abs(value);
    int decimals = size >= 99.95 || value == Math.rint(value) ? 0 : size >= 9.995 ? 1 : 2;
    return String.format(Locale.ROOT, "%." + decimals + "f", value);
  }
}
