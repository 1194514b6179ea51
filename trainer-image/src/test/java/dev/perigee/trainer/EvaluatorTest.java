package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class EvaluatorTest {
  @Test
  void whatItSaysDoesNothingToATerminal() {
    assertThat(Evaluator.printable("Größe\t漢😀\n\u001b[2J\u0007\r\0\u009b1m\u007f"))
        .isEqualTo("Größe\t漢😀\n\ufffd[2J\ufffd\ufffd\ufffd\ufffd1m\ufffd");
  }
}
