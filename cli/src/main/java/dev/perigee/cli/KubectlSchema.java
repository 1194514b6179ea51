package dev.perigee.cli;

import java.math.BigInteger;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.snakeyaml.engine.v2.api.ConstructNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.Tag;
import org.snakeyaml.engine.v2.resolver.ScalarResolver;
import org.snakeyaml.engine.v2.schema.CoreSchema;

/**
 * Plain scalars as kubectl reads them, so that a manifest means the same here and in a cluster:
 * beside YAML 1.2 the words for true and false of YAML 1.1, numbers with underscores, and integers
 * of other bases as Go writes them, where a leading 0 is octal.
 */
final class KubectlSchema extends CoreSchema {
  private static final Pattern TRUE = Pattern.compile("[yY]|yes|Yes|YES|on|On|ON|true|True|TRUE");
  private static final Pattern FALSE =
      Pattern.compile("[nN]|no|No|NO|off|Off|OFF|false|False|FALSE");

  /** A sign, a base, and digits of it. */
  private static final Pattern INTEGER =
      Pattern.compile("([-+]?)(?:(0[bB])([01]+)|(0[oO]?)([0-7]+)|(0[xX])(\\p{XDigit}+))");

  @Override
  public ScalarResolver getScalarResolver() {
    ScalarResolver core = super.getScalarResolver();
    return (value, implicit) -> implicit ? plain(core, value) : core.resolve(value, false);
  }

  private static Tag plain(ScalarResolver core, String value) {
    if (TRUE.matcher(value).matches() || FALSE.matcher(value).matches()) {
      return Tag.BOOL;
    }
    String number = withoutUnderscores(value);
    if (INTEGER.matcher(number).matches()) {
      return Tag.INT;
    }
    Tag tag = core.resolve(number, true);
    return tag.equals(Tag.INT) || tag.equals(Tag.FLOAT) ? tag : core.resolve(value, true);
  }

  @Override
  public Map<Tag, ConstructNode> getSchemaTagConstructors() {
    Map<Tag, ConstructNode> constructors = new HashMap<>(super.getSchemaTagConstructors());
    ConstructNode integers = constructors.get(Tag.INT);
    ConstructNode fractions = constructors.get(Tag.FLOAT);
    constructors.put(Tag.BOOL, node -> TRUE.matcher(value(node)).matches());
    constructors.put(Tag.INT, node -> integer(node, integers));
    constructors.put(Tag.FLOAT, node -> fractions.construct(withoutUnderscores(node)));
    return constructors;
  }

  private static Object integer(Node node, ConstructNode decimal) {
    Matcher other = INTEGER.matcher(withoutUnderscores(value(node)));
    if (!other.matches()) {
      return decimal.construct(withoutUnderscores(node));
    }
    int base = other.group(2) != null ? 2 : other.group(4) != null ? 8 : 16;
    String digits = other.group(base == 2 ? 3 : base == 8 ? 5 : 7).toLowerCase(Locale.ROOT);
    BigInteger found = new BigInteger(other.group(1) + digits, base);
    return found.bitLength() < Long.SIZE ? (Object) found.longValue() : found;
  }

  private static String value(Node node) {
    return ((ScalarNode) node).getValue();
  }

  private static Node withoutUnderscores(Node node) {
    ScalarNode scalar = (ScalarNode) node;
    return new ScalarNode(
        scalar.getTag(),
        true,
        withoutUnderscores(scalar.getValue()),
        scalar.getScalarStyle(),
        scalar.getStartMark(),
        scalar.getEndMark());
  }

  /** Of what begins as a number does; _1 is a word. */
  private static String withoutUnderscores(String value) {
    boolean number = !value.isEmpty() && "+-0123456789".indexOf(value.charAt(0)) >= 0;
    return number ? value.replace("_", "") : value;
  }
}
