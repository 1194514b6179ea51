package dev.perigee.engine.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class TextSourceTest {
  private static final Tokenizer BYTES = new ByteTokenizer();
  private static final String TEXT = "abcdefghijklmnopqrstuvwxyz0123456789";

  @Test
  void anEpochShowsEveryWindowOnceAndTheNextOneInAnotherOrder() throws DataException {
    TextSource source = TextSource.of("s", List.of(TEXT), BYTES, 4, 7);
    int windows = source.tokens() / 4;
    assertThat(windows).isEqualTo(9);
    for (int epoch = 0; epoch < 3; epoch++) {
      TreeSet<Integer> seen = new TreeSet<>();
      for (int w = 0; w < windows; w++) {
        for (int id : source.sequence((long) epoch * windows + w).ids()) {
          assertThat(seen.add(id)).isTrue();
        }
      }
      assertThat(seen).hasSize(36);
    }
    assertThat(source.sequence(0).ids()).isNotEqualTo(source.sequence(windows).ids());
  }

  @Test
  void aTargetIsTheTokenThatFollows() throws DataException {
    TextSource source = TextSource.of("s", List.of(TEXT), BYTES, 4, 7);
    int[] ring = new int[TEXT.length() + 2];
    ring[0] = BYTES.begin();
    System.arraycopy(BYTES.encode(TEXT), 0, ring, 1, TEXT.length());
    ring[ring.length - 1] = BYTES.end();
    for (int i = 0; i < 30; i++) {
      Sequence s = source.sequence(i);
      for (int j = 0; j < 4; j++) {
        int at = indexOf(ring, s.ids()[j]);
        assertThat(s.targets()[j]).isEqualTo(ring[(at + 1) % ring.length]);
      }
    }
  }

  @Test
  void aSequenceIsTheSameInWhateverOrderItIsAskedFor() throws DataException {
    TextSource forward = TextSource.of("s", List.of(TEXT, "more"), BYTES, 5, 3);
    TextSource jumping = TextSource.of("s", List.of(TEXT, "more"), BYTES, 5, 3);
    jumping.sequence(1000);
    for (int i = 0; i < 40; i++) {
      jumping.sequence(39 - i);
      assertThat(jumping.sequence(i).ids()).isEqualTo(forward.sequence(i).ids());
    }
  }

  @Test
  void fewerTokensThanASequenceAreNothingToTrainOn() throws DataException {
    assertThat(TextSource.of("s", List.of("ab"), BYTES, 3, 0).tokens()).isEqualTo(4);
    assertThatThrownBy(() -> TextSource.of("s", List.of("a"), BYTES, 3, 0))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("data source s: nothing to train on: 3 tokens");
  }

  private static int indexOf(int[] ids, int id) {
    int at = 0;
    while (ids[at] != id) {
      at++;
    }
    return at;
  }
}
