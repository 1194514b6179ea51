package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.data.Sequence;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class EvaluatorTest {
  @Test
  void everyTokenButTheFirstIsScoredOnceInOrderAndWithHalfAWindowBeforeIt() {
    for (int length = 2; length < 9; length++) {
      for (int tokens = 2; tokens < 40; tokens++) {
        int[] document = IntStream.range(0, tokens).toArray();
        List<Integer> scored = new ArrayList<>();
        for (Sequence window : Evaluator.windows(document, length, 99)) {
          for (int i = 0; i < length; i++) {
            int target = window.targets()[i];
            if (target != Sequence.NO_TARGET) {
              assertThat(window.ids()[i]).isEqualTo(target - 1);
              assertThat(i + 1).isGreaterThanOrEqualTo(Math.min(target, length / 2));
              scored.add(target);
            }
          }
        }
        assertThat(scored)
            .as("%d tokens in windows of %d", tokens, length)
            .isEqualTo(IntStream.range(1, tokens).boxed().toList());
      }
    }
  }

  @Test
  void whatItSaysDoesNothingToATerminal() {
    assertThat(Evaluator.printable("Größe\t漢😀\n\u001b[2J\u0007\r\0\u009b1m\u007f"))
        .isEqualTo("Größe\t漢😀\n\ufffd[2J\ufffd\ufffd\ufffd\ufffd1m\ufffd");
  }
}
