package dev.perigee.run;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class MeshTest {
  @Test
  void groupsFollowTheOrderExpertThenReplicaThenStage() {
    Mesh mesh = new Mesh(2, 4, 2, 4);
    assertThat(mesh.world()).isEqualTo(8);
    assertThat(mesh.pods()).isEqualTo(2);
    assertThat(mesh.coordinates(7)).isEqualTo(new Mesh.Coordinates(1, 1, 1));
    assertThat(mesh.expertGroup(7)).isEqualTo(List.of(6, 7));
    assertThat(mesh.expertReplicaGroup(7)).isEqualTo(List.of(5, 7));
    assertThat(mesh.dataGroup(7)).isEqualTo(List.of(4, 5, 6, 7));
    assertThat(mesh.pipelineGroup(7)).isEqualTo(List.of(3, 7));
    assertThat(mesh.ranks()).isEqualTo(List.of(0, 1, 2, 3, 4, 5, 6, 7));
  }

  @Test
  void kimiK2OnTwoHundredFiftySixGpus() {
    Mesh mesh = new Mesh(16, 16, 16, 8);
    assertThat(mesh.problems(384)).isEmpty();
    assertThat(mesh.pods()).isEqualTo(32);
  }

  @Test
  void aMeshThatDoesNotDivideSaysWhatWould() {
    assertThat(new Mesh(1, 4, 3, 1).problems(16))
        .contains(
            "parallelism.expert: 3 does not divide data 4; expert parallelism folds into data"
                + " parallelism, so use one of [1, 2, 4]");
    assertThat(new Mesh(1, 4, 4, 3).problems(16))
        .containsExactly(
            "parallelism.ranksPerPod: 3 does not divide the 4 ranks (pipeline × data); use one of"
                + " [1, 2, 4]");
    assertThat(new Mesh(1, 8, 8, 1).problems(12))
        .containsExactly(
            "parallelism.expert: 8 does not divide the model's 12 routed experts; use one of"
                + " [1, 2, 3, 4, 6, 12]");
  }
}
