package dev.perigee.engine.data;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class HoldOutTest {
  private static List<String> documents(int n) {
    return IntStream.range(0, n).mapToObj(i -> "document " + i).toList();
  }

  @Test
  void heldOutDocumentsAreSpreadEvenly() {
    HoldOut split = HoldOut.of(documents(140), 0.05);
    assertThat(split.heldOut())
        .containsExactly(
            "document 9",
            "document 29",
            "document 49",
            "document 69",
            "document 89",
            "document 109",
            "document 129");
    assertThat(split.training()).hasSize(133).doesNotContainAnyElementsOf(split.heldOut());
  }

  @Test
  void everyFractionHoldsOutItsShareAndLeavesSomethingToTrainOn() {
    for (int n = 2; n < 40; n++) {
      for (double fraction : new double[] {0.001, 0.1, 0.33, 0.5, 0.9, 0.999}) {
        HoldOut split = HoldOut.of(documents(n), fraction);
        int expected = Math.clamp(Math.round(n * fraction), 1, n - 1);
        assertThat(split.heldOut()).hasSize(expected);
        assertThat(split.training()).hasSize(n - expected);
      }
    }
  }

  @Test
  void ofASingleDocumentTheEndIsHeldOut() {
    HoldOut split = HoldOut.of(List.of("0123456789"), 0.2);
    assertThat(split).isEqualTo(new HoldOut(List.of("01234567"), List.of("89")));
  }

  @Test
  void aPairOfSurrogatesIsNotCutApart() {
    HoldOut split = HoldOut.of(List.of("ab😀c"), 0.4);
    assertThat(split).isEqualTo(new HoldOut(List.of("ab"), List.of("😀c")));
  }

  @Test
  void aFractionOfZeroHoldsNothingOut() {
    assertThat(HoldOut.of(documents(3), 0)).isEqualTo(new HoldOut(documents(3), List.of()));
  }
}
