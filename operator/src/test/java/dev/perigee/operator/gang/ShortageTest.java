package dev.perigee.operator.gang;

import static org.assertj.core.api.Assertions.assertThat;

import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.Quantity;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class ShortageTest {
  private static final Pod POD =
      new PodBuilder()
          .withNewSpec()
          .addNewContainer()
          .withNewResources()
          .addToRequests("memory", new Quantity("64Gi"))
          .addToRequests("cpu", new Quantity("500m"))
          .addToLimits("cpu", new Quantity("64"))
          .addToLimits("nvidia.com/gpu", new Quantity("16"))
          .endResources()
          .endContainer()
          .endSpec()
          .build();

  @Test
  void onlyWhatNoNodeCouldGiveIsNamed() {
    assertThat(Shortage.of(POD, with("cpu", "1", "memory", "65Gi", "nvidia.com/gpu", "8")))
        .hasValue(
            "Each pod asks for nvidia.com/gpu: 16, but the most that a node has is"
                + " nvidia.com/gpu: 8; ask for less in resources, or add a larger node.");
    assertThat(Shortage.of(POD, with("cpu", "500m", "memory", "68719476736")))
        .as("equal in another unit, and no GPUs at all")
        .hasValueSatisfying(
            line -> assertThat(line).contains("has is nvidia.com/gpu: 0;").doesNotContain("cpu"));
  }

  @Test
  void aNodeThatIsLargeEnoughAndMerelyFullIsTheSchedulersToSpeakOf() {
    assertThat(Shortage.of(POD, with("cpu", "1", "memory", "1Ti", "nvidia.com/gpu", "16")))
        .isEmpty();
  }

  @Test
  void onlyNodesWithTheLabelsOfTheNodeSelectorCount() {
    Pod picky = new PodBuilder(POD).editSpec().addToNodeSelector("rack", "r9").endSpec().build();
    assertThat(Shortage.of(picky, with())).hasValue("There is no node with the labels {rack=r9}.");
    assertThat(Shortage.of(picky, with("cpu", "1", "memory", "1Ti")))
        .hasValueSatisfying(
            line -> assertThat(line).contains("a node with the labels {rack=r9} has is"));
  }

  @Test
  void whereNodesMayNotBeReadNothingIsAdded() {
    assertThat(Shortage.of(POD, Nodes.UNREADABLE)).isEmpty();
  }

  private static Nodes with(String... amounts) {
    Map<String, Quantity> most = new TreeMap<>();
    for (int i = 0; i < amounts.length; i += 2) {
      most.put(amounts[i], new Quantity(amounts[i + 1]));
    }
    return new Nodes() {
      @Override
      public Optional<NodeState> named(String name) {
        return Optional.empty();
      }

      @Override
      public Optional<Map<String, Quantity>> most(Map<String, String> labels) {
        return Optional.of(most);
      }
    };
  }
}
