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

  private static Optional<String> obstacle(String podSpec, String nodeSpec)
      throws JsonProcessingException {
    return Scheduler.obstacle(object(podSpec), object(nodeSpec), List.of());
  }

  private static ObjectNode object(String spec) throws JsonProcessingException {
    return (ObjectNode) Json.MAPPER.readTree("{'spec': %s}".formatted(spec).replace('\'', '"'));
  }
}
