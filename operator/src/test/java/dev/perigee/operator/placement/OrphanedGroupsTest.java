package dev.perigee.operator.placement;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import java.io.IOException;
import java.time.Instant;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class OrphanedGroupsTest {
  /** When the pods' grace is over. */
  private static final Instant END = Instant.parse("2026-01-01T00:00:00Z");

  private static final Instant LATER = END.plusSeconds(11);

  private static PodBuilder pod(String uid) {
    return new PodBuilder()
        .withNewMetadata()
        .withNamespace("team")
        .withName(uid)
        .withUid(uid)
        .withDeletionTimestamp(END.toString())
        .withFinalizers("kueue.x-k8s.io/managed")
        .addToLabels("kueue.x-k8s.io/pod-group-name", "demo-attempt-1")
        .addNewOwnerReference()
        .withKind("PretrainJob")
        .withName("demo")
        .withUid("job-uid")
        .endOwnerReference()
        .endMetadata();
  }

  private static List<OrphanedGroups.Orphan> kept(Instant now, Pod... pods) {
    return List.copyOf(OrphanedGroups.kept(Stream.of(pods), now));
  }

  @Test
  void podsThatAreKeptOverTheirGraceAreOneGroup() {
    assertThat(kept(LATER, pod("a").build(), pod("b").build()))
        .containsExactly(
            new OrphanedGroups.Orphan(
                "team", "demo", "demo-attempt-1", Set.of("job-uid"), Set.of("a", "b")));
  }

  @Test
  void podsOfAnEarlierJobOfTheSameNameAreAnotherGroup() {
    Pod later =
        pod("b")
            .editMetadata()
            .editFirstOwnerReference()
            .withUid("other")
            .endOwnerReference()
            .endMetadata()
            .build();
    assertThat(kept(LATER, pod("a").build(), later)).hasSize(2);
  }

  @Test
  void podsWhoseProgramsMayStillSaveAreLeftAlone() {
    assertThat(kept(END.plusSeconds(9), pod("a").build())).isEmpty();
    assertThat(
            kept(LATER, pod("a").editMetadata().withDeletionTimestamp(null).endMetadata().build()))
        .isEmpty();
  }

  @Test
  void podsThatKueueDoesNotKeepAndPodsThatWereOrphanedOnPurposeAreLeftAlone() {
    assertThat(kept(LATER, pod("a").editMetadata().withFinalizers().endMetadata().build()))
        .isEmpty();
    assertThat(kept(LATER, pod("a").editMetadata().withLabels(null).endMetadata().build()))
        .isEmpty();
    assertThat(kept(LATER, pod("a").editMetadata().withOwnerReferences().endMetadata().build()))
        .isEmpty();
  }

  @Test
  void aWorkloadOfALaterGroupOfTheNameIsNotTheirs() throws IOException {
    OrphanedGroups.Orphan orphan = kept(LATER, pod("a").build()).getFirst();
    assertThat(orphan.owns(workload("{kind: Pod, name: demo-0, uid: a}"))).isTrue();
    assertThat(orphan.owns(workload("{kind: Pod, name: demo-0, uid: z}"))).isFalse();
    assertThat(orphan.owns(workload(""))).isFalse();
  }

  private static GenericKubernetesResource workload(String owner) throws IOException {
    return new YAMLMapper()
        .readValue(
            "{kind: Workload, metadata: {name: demo-attempt-1, ownerReferences: [" + owner + "]}}",
            GenericKubernetesResource.class);
  }
}
