package dev.perigee.engine.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

class ArithmeticTest {
  private static final Pattern NUMBER = Pattern.compile("\\d+");
  private static final Tokenizer BYTES = new ByteTokenizer();

  @Test
  void theWorkingAndTheResultAreRight() {
    for (int a = 1; a < 100; a++) {
      for (int b = 1; b < 100; b++) {
        if (a + b < 100) {
          assertRight(new Arithmetic.Fact('+', a, b), a + b);
        }
        if (a > b) {
          assertRight(new Arithmetic.Fact('-', a, b), a - b);
        }
      }
    }
  }

  private static void assertRight(Arithmetic.Fact fact, int result) {
    List<Integer> n = numbers(fact.answer());
    assertThat(n).hasSize(3);
    assertThat(n.get(2)).isEqualTo(result);
    int worked = fact.operation() == '+' ? n.get(0) + n.get(1) : n.get(0) - n.get(1);
    assertThat(worked).as(fact + ": " + fact.answer()).isEqualTo(result);
  }

  @Test
  void oneFactInTenIsHeldOutWhicheverSummandComesFirst() {
    int facts = 0;
    int heldOut = 0;
    for (int a = 1; a < 100; a++) {
      for (int b = 1; b < 100; b++) {
        if (a + b < 100) {
          assertThat(new Arithmetic.Fact('+', a, b).heldOut())
              .isEqualTo(new Arithmetic.Fact('+', b, a).heldOut());
          facts++;
          heldOut += new Arithmetic.Fact('+', a, b).heldOut() ? 1 : 0;
        }
        if (a > b) {
          facts++;
          heldOut += new Arithmetic.Fact('-', a, b).heldOut() ? 1 : 0;
        }
      }
    }
    assertThat((double) heldOut / facts).isBetween(0.08, 0.12);
  }

  @Test
  void trainingNeverShowsAHeldOutFact() throws DataException {
    Set<String> asked = new HashSet<>();
    for (Problem p : Arithmetic.heldOut(500, 1)) {
      asked.add(fact(p.prompt() + p.answer()));
    }
    assertThat(asked).hasSizeGreaterThan(250);
    ArithmeticSource source = ArithmeticSource.of("s", BYTES, 128, 1);
    Set<String> shown = new HashSet<>();
    for (int i = 0; i < 5000; i++) {
      for (List<Integer> problem : problems(source.sequence(i).ids())) {
        shown.add(fact(BYTES.decode(problem.stream().mapToInt(id -> id).toArray())));
      }
    }
    assertThat(shown).hasSizeGreaterThan(4000).doesNotContainAnyElementsOf(asked);
  }

  @Test
  void heldOutProblemsAreTheSameForTheSameSeedAndAllDifferent() {
    List<Problem> problems = Arithmetic.heldOut(500, 3);
    assertThat(problems).doesNotHaveDuplicates().isEqualTo(Arithmetic.heldOut(500, 3));
    assertThat(problems).isNotEqualTo(Arithmetic.heldOut(500, 4));
    assertThat(problems).filteredOn(p -> p.prompt().contains("?")).hasSizeBetween(290, 375);
  }

  @Test
  void targetsAreTheAnswersAndTheirEndsOnly() throws DataException {
    Sequence s = ArithmeticSource.of("s", BYTES, 128, 5).sequence(17);
    assertThat(s.ids()).hasSize(128).startsWith(BYTES.begin());
    StringBuilder learnt = new StringBuilder();
    for (int i = 0; i < 128; i++) {
      int target = s.targets()[i];
      if (target != Sequence.NO_TARGET) {
        if (i + 1 < 128) {
          assertThat(target).isEqualTo(s.ids()[i + 1]);
        }
        learnt.append(target == BYTES.end() ? "|" : BYTES.decode(new int[] {target}));
      }
    }
    assertThat(learnt.toString()).matches("(\\d+ [+-] \\d+ = \\d+\\|)+");
  }

  @Test
  void aSequenceTooShortForAProblemIsRefusedWithTheLengthThatWorks() throws DataException {
    assertThatThrownBy(() -> ArithmeticSource.of("s", BYTES, 32, 1))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("sequenceLength 32 is too short")
        .hasMessageContaining("expected at least 63");
    assertThat(ArithmeticSource.of("s", BYTES, 63, 1).sequence(0).ids()).hasSize(63);
  }

  /** The number fact in the text of a problem, in one spelling. */
  private static String fact(String text) {
    List<Integer> n = numbers(text);
    boolean sum = n.get(n.size() - 1) > Math.max(n.get(0), n.get(1));
    int low = Math.min(n.get(0), n.get(1));
    int high = Math.max(n.get(0), n.get(1));
    return high + (sum ? "+" : "-") + low;
  }

  private static List<Integer> numbers(String text) {
    List<Integer> found = new ArrayList<>();
    Matcher m = NUMBER.matcher(text);
    while (m.find()) {
      found.add(Integer.valueOf(m.group()));
    }
    return found;
  }

  private static List<List<Integer>> problems(int[] ids) {
    List<List<Integer>> found = new ArrayList<>();
    for (int id : ids) {
      if (id == BYTES.begin()) {
        found.add(new ArrayList<>());
      }
      found.getLast().add(id);
    }
    if (ids[ids.length - 1] != BYTES.end()) {
      // Its end is the target of the last position.
      assertThat(Arrays.stream(ids).filter(id -> id == BYTES.begin()).count()).isPositive();
    }
    return found;
  }

  @Test
  @Timeout(30)
  void moreProblemsThanThereAreAreRefusedAndNotSearchedForever() {
    assertThat(Arithmetic.MOST_HELD_OUT).isEqualTo(500_000);
    assertThatThrownBy(() -> Arithmetic.checkHeldOut(1_000_000))
        .isInstanceOf(DataException.class)
        .hasMessage(
            "evaluation.problems: 1000000; builtin arithmetic has at most 500000 held-out ones to ask");
    assertThat(Arithmetic.heldOut(Arithmetic.MOST_HELD_OUT, 1)).hasSize(500_000);
  }
}
