package dev.perigee.cli.cluster.api;

import java.math.BigDecimal;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Amounts of resources: {@code 500m}, {@code 2}, {@code 4Gi}. */
public final class Quantities {
  private static final Pattern FORM =
      Pattern.compile("([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]|[KMGTPE]i)?");

  private static final Map<String, BigDecimal> UNITS =
      Map.ofEntries(
          Map.entry("n", BigDecimal.valueOf(1, 9)),
          Map.entry("u", BigDecimal.valueOf(1, 6)),
          Map.entry("m", BigDecimal.valueOf(1, 3)),
          Map.entry("k", BigDecimal.valueOf(1_000L)),
          Map.entry("M", BigDecimal.valueOf(1_000_000L)),
          Map.entry("G", BigDecimal.valueOf(1_000_000_000L)),
          Map.entry("T", BigDecimal.valueOf(1_000_000_000_000L)),
          Map.entry("P", BigDecimal.valueOf(1_000_000_000_000_000L)),
          Map.entry("E", BigDecimal.valueOf(1_000_000_000_000_000_000L)),
          Map.entry("Ki", BigDecimal.valueOf(1L << 10)),
          Map.entry("Mi", BigDecimal.valueOf(1L << 20)),
          Map.entry("Gi", BigDecimal.valueOf(1L << 30)),
          Map.entry("Ti", BigDecimal.valueOf(1L << 40)),
          Map.entry("Pi", BigDecimal.valueOf(1L << 50)),
          Map.entry("Ei", BigDecimal.valueOf(1L << 60)));

  private Quantities() {}

  /** Whether a text is an amount that is not negative. */
  static boolean isQuantity(String text) {
    return FORM.matcher(text).matches() && value(text).signum() >= 0;
  }

  /**
   * The amount.
   *
   * @throws IllegalArgumentException when it is not one
   */
  public static BigDecimal value(String quantity) {
    Matcher m = FORM.matcher(quantity);
    if (!m.matches()) {
      throw new IllegalArgumentException(quantity + " is not a quantity such as 500m, 2 or 4Gi");
    }
    BigDecimal number = new BigDecimal(m.group(1));
    return m.group(2) == null ? number : number.multiply(UNITS.get(m.group(2)));
  }
}
