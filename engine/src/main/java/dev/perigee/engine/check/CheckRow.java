package dev.perigee.engine.check;

import dev.perigee.engine.tensor.Tensor;
import java.util.Locale;

/**
 * One comparison.
 *
 * @param name what is compared
 * @param figure how far apart the two are, NaN when there is nothing to compare with
 * @param tolerance how far apart they may be
 */
public record CheckRow(String name, double figure, double tolerance) {

  /** A row for numbers that the folder does not have. */
  public static CheckRow absent(String name) {
    return new CheckRow(name, Double.NaN, 0);
  }

  /** Whether there was something to compare with. */
  public boolean present() {
    return !(Double.isNaN(figure) && tolerance == 0);
  }

  /** Whether the comparison holds; one without numbers neither holds nor fails. */
  public boolean passes() {
    return !present() || figure <= tolerance;
  }

  /** The row as a line of a table. */
  @Override
  public String toString() {
    if (!present()) {
      return "%-64s %10s %10s  not there".formatted(name, "", "");
    }
    return String.format(
        Locale.ROOT, "%-64s %10.2e %10.0e  %s", name, figure, tolerance, passes() ? "ok" : "OUT");
  }

  /**
   * ‖found − expected‖ / ‖expected‖ in the Frobenius norm; the numerator alone when expected is
   * zero.
   */
  static double relative(Tensor anywhere, Tensor expected) {
    Tensor found = anywhere.onHost();
    double difference = 0;
    double norm = 0;
    for (int i = 0; i < expected.size(); i++) {
      double e = expected.floats()[expected.offset() + i];
      double d = found.floats()[found.offset() + i] - e;
      difference += d * d;
      norm += e * e;
    }
    return norm == 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm);
  }
}
