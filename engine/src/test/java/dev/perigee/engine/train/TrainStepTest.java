package dev.perigee.engine.train;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.run.Mesh;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

final class TrainStepTest {
  private static final int STEPS = 50;

  private static List<TinyRun.Outcome> run(Mesh mesh) throws Exception {
    return TinyRun.run(TinyRun.config(mesh, STEPS, TinyRun.OPTIMIZER));
  }

  @ParameterizedTest
  @CsvSource({"2,1,2", "4,1,4", "2,2,2", "4,2,4", "4,4,4", "4,4,2", "4,2,2", "4,1,1"})
  void everyMeshGivesTheLossCurveOfASingleRank(int data, int expert, int ranksPerPod)
      throws Exception {
    double[] alone = run(Mesh.SINGLE).getFirst().losses();
    List<TinyRun.Outcome> ranks = run(new Mesh(1, data, expert, ranksPerPod));
    double[] losses = ranks.getFirst().losses();
    double worst = 0;
    for (int step = 0; step < STEPS; step++) {
      worst = Math.max(worst, Math.abs(losses[step] - alone[step]) / alone[step]);
    }
    assertThat(worst).isLessThan(1e-5);
    for (TinyRun.Outcome rank : ranks) {
      assertThat(rank.losses()).isEqualTo(losses);
    }
  }

  @Test
  void theSameSeedAndMeshGiveTheSameBits() throws Exception {
    Mesh mesh = new Mesh(1, 4, 2, 2);
    List<TinyRun.Outcome> one = run(mesh);
    List<TinyRun.Outcome> other = run(mesh);
    for (int rank = 0; rank < 4; rank++) {
      assertThat(other.get(rank).losses()).isEqualTo(one.get(rank).losses());
      for (String name : one.get(rank).weights().keySet()) {
        assertThat(
                Arrays.equals(
                    other.get(rank).weights().get(name), one.get(rank).weights().get(name)))
            .as(name)
            .isTrue();
      }
    }
  }
}
