package dev.perigee.cli.cluster.node;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class SchedulerTest {
  @Test
  void aCordonedNodeTakesNoPod() throws JsonProcessingException {
    assertThat(obstacle("{}", "{'unschedulable': true}"))
        .contains("0/1 nodes are available: 1 node(s) were unschedulable.");
    assertThat(obstacle("{}", "{'unschedulable': false}")).isEmpty();
  }

  @Test
  void aTaintKeepsPodsAwayThatDoNotTolerateIt() throws JsonProcessingException {
    String tainted = "{'taints': [{'key': 'gpu', 'value': 'a', 'effect': 'NoSchedule'}]}";
    assertThat(obstacle("{}", tainted))
        .contains("0/1 nodes are available: 1 node(s) had untolerated taint {gpu: a}.");
    assertThat(obstacle("{'tolerations': [{'key': 'gpu', 'value': 'b'}]}", tainted)).isPresent();
    assertThat(obstacle("{'tolerations': [{'key': 'gpu', 'effect': 'NoExecute'}]}", tainted))
        .isPresent();
    assertThat(obstacle("{'tolerations': [{'key': 'gpu', 'value': 'a'}]}", tainted)).isEmpty();
    assertThat(obstacle("{'tolerations': [{'key': 'gpu', 'operator': 'Exists'}]}", tainted))
        .isEmpty();
    assertThat(obstacle("{'tolerations': [{'operator': 'Exists'}]}", tainted)).isEmpty();
    assertThat(obstacle("{}", tainted.replace("NoSchedule", "PreferNoSchedule"))).isEmpty();
  }

  /** Two gangs with half of their pods each would wait for each other for ever. */
  @Test
  void aGangBeginsOnlyWhereThereIsRoomForAllOfIt() throws JsonProcessingException {
    ObjectNode node = node("2");
    ObjectNode first = pod("a", 1, 3);
    assertThat(Scheduler.obstacle(first, node, List.of())).isEmpty();
    assertThat(Scheduler.obstacle(pod("b", 1, 3), node, List.of(first)))
        .as("the rest of a is still to come")
        .contains(
            "0/1 nodes are available: 1 Insufficient cpu (the 3 pods of its gang want 1.5, free"
                + " 0.5).");
    assertThat(Scheduler.obstacle(pod("b", 1, 1), node, List.of(first))).isEmpty();
    assertThat(Scheduler.obstacle(pod("a", 0, 3), node, List.of(first)))
        .as("a spare takes what is left")
        .isEmpty();
    List<ObjectNode> two = List.of(first, pod("b", 1, 1));
    assertThat(Scheduler.obstacle(pod("a", 1, 3), node, two)).isEmpty();
    assertThat(Scheduler.obstacle(pod("a", 0, 3), node, two))
        .contains("0/1 nodes are available: 1 Insufficient cpu (wanted 0.5, free 0).");
    assertThat(Scheduler.obstacle(pod("a", 2, 3), node, List.of(first, first, first)))
        .as("the next start waits until the one before it is gone")
        .isPresent();
    assertThat(Scheduler.obstacle(pod("c", 1, 5), node, List.of())).isPresent();
  }

  private static ObjectNode node(String cpu) {
    ObjectNode node = Json.object();
    node.withObject("/status/allocatable").put("cpu", cpu);
    return node;
  }

  private static ObjectNode pod(String job, int generation, int size)
      throws JsonProcessingException {
    ObjectNode pod =
        object("{'containers': [{'name': 'main', 'resources': {'requests': {'cpu': '500m'}}}]}");
    pod.withObject("/metadata/labels")
        .put("perigee.dev/job", job)
        .put("perigee.dev/generation", Integer.toString(generation))
        .put("perigee.dev/gang-size", Integer.toString(size));
    return pod;
  }

  private static Optional<String> obstacle(String podSpec, String nodeSpec)
      throws JsonProcessingException {
    return Scheduler.obstacle(object(podSpec), object(nodeSpec), List.of());
  }

  private static ObjectNode object(String spec) throws JsonProcessingException {
    return (ObjectNode) Json.MAPPER.readTree("{'spec': %s}".formatted(spec).replace('\'', '"'));
  }
}
