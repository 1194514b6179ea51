package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.data.Sequence;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class WindowsTest {
  @Test
  void everyTokenButTheFirstIsScoredOnceInOrderAndWithHalfAWindowBeforeIt() {
    for (int length = 1; length < 9; length++) {
      for (int tokens = 2; tokens < 40; tokens++) {
        int[] document = IntStream.range(0, tokens).toArray();
        List<Integer> scored = new ArrayList<>();
        Windows windows = new Windows(List.of(document), length, 99);
        for (int number = 0; number < windows.count(); number++) {
          Sequence window = windows.window(number);
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
  void documentsFollowEachOtherAndOneWithoutTargetsHasNoWindow() {
    List<int[]> documents =
        List.of(new int[] {5}, new int[] {1, 2, 3, 4}, new int[0], new int[] {7}, new int[] {8, 9});
    Windows windows = new Windows(documents, 2, 0);
    List<List<Integer>> ids = new ArrayList<>();
    for (int number = 0; number < windows.count(); number++) {
      ids.add(IntStream.of(windows.window(number).ids()).boxed().toList());
    }
    assertThat(ids).containsExactly(List.of(1, 2), List.of(2, 3), List.of(8, 0));
  }

  /** All of them at once would take 70 GB. */
  @Test
  void aTextMayBeLargerThanItsWindowsHaveRoomFor() {
    int[] document = new int[1 << 22];
    document[document.length - 1] = 3;
    Windows windows = new Windows(Collections.nCopies(1024, document), 64, 0);
    assertThat(windows.count()).isEqualTo(1024L * ((1 << 22) / 32 - 1));
    Sequence last = windows.window(windows.count() - 1);
    assertThat(last.targets()).contains(3);
    assertThat(windows.window(0).targets()).doesNotContain(3);
  }
}
