package dev.perigee.operator.gang;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.NullSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Times as people and programs write them. */
class WrittenTimeTest {
  /** Java reads years of ten digits, and cannot reckon with the last of them. */
  @ParameterizedTest
  @NullSource
  @ValueSource(
      strings = {
        "",
        "tomorrow",
        "2026-01-01",
        "+10000-01-01T00:00:00Z",
        "+1000000000-12-31T23:59:59Z",
        "-0001-12-31T23:59:59Z",
        "-1000000000-01-01T00:00:00Z"
      })
  void whatIsNoTimeInRfc3339IsNone(String written) {
    assertThat(WrittenTime.read(written)).isEmpty();
  }

  @Test
  void fourDigitsAreAYear() {
    assertThat(WrittenTime.read("9999-12-31T23:59:59Z").map(Instant::toString))
        .contains("9999-12-31T23:59:59Z");
    assertThat(WrittenTime.read("2026-01-01T01:00:00+01:00"))
        .contains(Instant.parse("2026-01-01T00:00:00Z"));
  }
}
