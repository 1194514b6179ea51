package dev.perigee.engine.data;

import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;

/**
 * Sums and word problems within a hundred, in the style of school books: {@code 47 + 38 = } is
 * answered with the working and the result, {@code 70 + 15 = 85} (tens and ones apart), and {@code
 * 52 - 17 = } with {@code 42 - 7 = 35} (first the tens, then the ones).
 *
 * <p>One number fact in ten is held out by a hash of its operation and operands, whatever words it
 * is put in and whichever summand comes first. Training never shows it, so a right answer to a
 * held-out problem has been calculated, not remembered.
 */
public final class Arithmetic {
  /** Its name in {@code data[].builtin}. */
  public static final String NAME = "arithmetic";

  /** Most problems that can be held out. */
  static final int MOST_HELD_OUT = RunConfig.Evaluation.MOST_PROBLEMS;

  private static final int LIMIT = 100;

  private static final String[] NAMES = {
    "Ann", "Ben", "Eva", "Ida", "Leo", "Max", "Mia", "Tom", "Zoe", "Kim"
  };
  private static final String[] THINGS = {
    "eggs", "figs", "hats", "nuts", "pens", "pins", "toys", "cups", "keys", "maps"
  };
  private static final String[] SUMS = {
    "%1$s has %3$d %5$s and gets %4$d more. How many now? ",
    "%1$s has %3$d %5$s, %2$s has %4$d. How many in all? ",
    "A box holds %3$d %5$s, a bag %4$d. How many together? "
  };
  private static final String[] DIFFERENCES = {
    "%1$s had %3$d %5$s and lost %4$d. How many are left? ",
    "%1$s has %3$d %5$s, %2$s only %4$d. How many more? ",
    "Of %3$d %5$s, %4$d are sold. How many remain? "
  };

  private Arithmetic() {}

  /** A number fact: {@code a + b} or {@code a - b}, all numbers from 1 to 99. */
  record Fact(char operation, int a, int b) {

    int result() {
      return operation == '+' ? a + b : a - b;
    }

    /** Whether training never shows it. */
    boolean heldOut() {
      int low = operation == '+' ? Math.min(a, b) : b;
      int high = operation == '+' ? Math.max(a, b) : a;
      int hash = (operation * LIMIT + high) * LIMIT + low;
      hash *= 0x9E3779B1; // Knuth's multiplicative hash: the upper bits are well mixed
      hash ^= hash >>> 15;
      hash *= 0x85EBCA77;
      return (hash >>> 16) % 10 == 0;
    }

    /** The working and the result. */
    String answer() {
      int tens = b / 10 * 10;
      return operation == '+'
          ? (a / 10 * 10 + tens) + " + " + (a % 10 + b % 10) + " = " + result()
          : (a - tens) + " - " + b % 10 + " = " + result();
    }
  }

  /** The next problem of a random stream, from the held-out facts or from the others. */
  static Problem problem(SplittableRandom random, boolean heldOut) {
    Fact fact;
    do {
      fact = fact(random);
    } while (fact.heldOut() != heldOut);
    return new Problem(prompt(fact, random), fact.answer());
  }

  /** Refuses more problems than {@link #heldOut} can give. */
  static void checkHeldOut(int count) throws DataException {
    if (count > MOST_HELD_OUT) {
      throw DataException.misplaced(
          "evaluation.problems: "
              + count
              + "; builtin "
              + NAME
              + " has at most "
              + MOST_HELD_OUT
              + " held-out ones to ask");
    }
  }

  /** The first {@code count} held-out problems of a seed, no two with the same prompt. */
  public static List<Problem> heldOut(int count, long seed) {
    SplittableRandom random = Shuffle.random(seed, -1);
    List<Problem> problems = new ArrayList<>(count);
    Set<String> prompts = new HashSet<>();
    while (problems.size() < count) {
      Problem problem = problem(random, true);
      if (prompts.add(problem.prompt())) {
        problems.add(problem);
      }
    }
    return problems;
  }

  private static Fact fact(SplittableRandom random) {
    if (random.nextBoolean()) {
      int sum = random.nextInt(2, LIMIT);
      int a = random.nextInt(1, sum);
      return new Fact('+', a, sum - a);
    }
    int a = random.nextInt(2, LIMIT);
    return new Fact('-', a, random.nextInt(1, a));
  }

  private static String prompt(Fact fact, SplittableRandom random) {
    // Two word problems for one bare sum: they are harder to learn.
    if (random.nextInt(3) == 0) {
      return fact.a + " " + fact.operation + " " + fact.b + " = ";
    }
    String[] templates = fact.operation == '+' ? SUMS : DIFFERENCES;
    String template = templates[random.nextInt(templates.length)];
    int first = random.nextInt(NAMES.length);
    int second = (first + 1 + random.nextInt(NAMES.length - 1)) % NAMES.length;
    String thing = THINGS[random.nextInt(THINGS.length)];
    return template.formatted(NAMES[first], NAMES[second], fact.a, fact.b, thing);
  }
}
