package dev.perigee.engine.bench;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class PacedLinksTest {
  private static final int WIDTH = 250;

  @Test
  void rowsForAnotherPodTakeWhatItsLinkTakesAndArriveAsTheyAre() throws Exception {
    // 10 rows of 1000 bytes at 100 kB/s: 100 ms, and 20 ms of latency.
    PacedLinks.Network network = new PacedLinks.Network(1e5, 20_000_000);

    assertThat(exchangeSeconds(network)).isGreaterThanOrEqualTo(0.12);
  }

  @Test
  void anExchangeWithoutRowsForAnotherPodTakesTheLatencyAlone() {
    assertThat(new PacedLinks.Network(1e5, 20_000_000).nanos(0, 0)).isEqualTo(20_000_000);
  }

  @Test
  void theBusierDirectionOfALinkDecides() {
    PacedLinks.Network network = new PacedLinks.Network(1e6, 5);

    assertThat(network.nanos(1000, 3000)).isEqualTo(3_000_005);
    assertThat(network.nanos(3000, 1000)).isEqualTo(3_000_005);
  }

  /** The shorter time of two ranks in two pods that send each other ten rows. */
  private static double exchangeSeconds(PacedLinks.Network network) throws Exception {
    try (Fabric fabric = Fabric.local(2)) {
      List<Double> seconds =
          fabric.run(
              rank -> {
                Collectives links =
                    new PacedLinks(fabric.collectives(rank, List.of(0, 1)), 1, network);
                int[] rows = new int[2];
                rows[1 - rank] = 10;
                Tensor send = Tensor.zeros(10, WIDTH);
                Arrays.fill(send.floats(), rank + 1);
                Tensor receive = Tensor.zeros(10, WIDTH);
                long begin = System.nanoTime();
                links.allToAll(send, rows, receive, rows);
                double took = (System.nanoTime() - begin) / 1e9;
                assertThat(receive.floats()).containsOnly(2 - rank);
                return took;
              });
      return seconds.stream().mapToDouble(Double::doubleValue).min().orElseThrow();
    }
  }
}
