package dev.perigee.engine.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.run.RunConfig;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class MixtureTest {
  private static final Tokenizer BYTES = new ByteTokenizer();

  @Test
  void sharesFollowTheWeightsAndNobodyGoesEmpty() {
    assertThat(Mixture.shares(new double[] {1})).containsExactly(1024);
    assertThat(Mixture.shares(new double[] {3, 1})).containsExactly(768, 256);
    assertThat(Mixture.shares(new double[] {1, 1, 1})).containsExactlyInAnyOrder(342, 341, 341);
    assertThat(Mixture.shares(new double[] {1, 1e-9})).containsExactly(1023, 1);
    assertThat(Mixture.shares(new double[] {1e-9, 2e6, 1e-9, 1e6})).containsExactly(1, 682, 1, 340);
  }

  @Test
  void asManySourcesAsARunMayHaveHaveASequenceEach() {
    double[] weights = new double[RunConfig.DataSource.MOST];
    Arrays.setAll(weights, k -> 1 + k);
    assertThat(Mixture.shares(weights)).hasSize(1024).containsOnly(1);
    assertThatThrownBy(() -> Mixture.shares(new double[1025]))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("1025 sources, and a block has 1024 sequences");
  }

  @Test
  void everySourceGivesItsSequencesInOrderWithoutGaps() throws DataException {
    TextSource a = TextSource.of("a", List.of("a".repeat(600)), BYTES, 1, 1);
    TextSource b = TextSource.of("b", List.of(digits(3000)), BYTES, 4, 2);
    Mixture mixture = new Mixture(List.of(a, b), new double[] {1, 2}, 5);
    Map<String, Integer> counts = new TreeMap<>();
    for (int i = 0; i < 2048; i++) {
      int[] ids = mixture.sequence(i).ids();
      String source = ids.length == 1 ? "a" : "b";
      int number = counts.merge(source, 1, Integer::sum) - 1;
      int[] expected = (source.equals("a") ? a : b).sequence(number).ids();
      assertThat(ids).as("sequence " + i).isEqualTo(expected);
    }
    assertThat(counts).containsEntry("a", 682).containsEntry("b", 1366);
  }

  private static String digits(int n) {
    StringBuilder text = new StringBuilder(n);
    for (int i = 0; i < n; i++) {
      text.append(i * i % 10);
    }
    return text.toString();
  }
}
