package dev.perigee.operator.pretrain;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class PaceTest {
  private static final Duration SHORTEST = Duration.ofSeconds(2);

  @Test
  void fewJobsAreLookedAtAsOftenAsWishedAndManyShareTheLooks() {
    assertThat(Pace.between(SHORTEST, 0)).isEqualTo(SHORTEST);
    assertThat(Pace.between(SHORTEST, 20)).isEqualTo(SHORTEST);
    assertThat(Pace.between(SHORTEST, 1000)).isEqualTo(Duration.ofSeconds(100));
  }

  @Test
  void jobsThatHaveEndedTakeNoLooks() {
    FakeCluster ended = new FakeCluster(Jobs.small());
    ended.reconcile();
    ended.exit("demo-0", 0, null);
    ended.exit("demo-1", 0, null);
    ended.reconcile();
    assertThat(ended.holding()).contains("Complete");
    FakeCluster running = new FakeCluster(Jobs.small());
    running.reconcile();
    assertThat(
            Pace.busy(
                Stream.concat(
                    IntStream.range(0, 9).mapToObj(i -> ended.job),
                    Stream.of(running.job, Jobs.small()))))
        .isEqualTo(2);
  }
}
