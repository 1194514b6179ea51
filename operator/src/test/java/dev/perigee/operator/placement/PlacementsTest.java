package dev.perigee.operator.placement;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.SchedulingSpec;
import dev.perigee.api.SchedulingSpec.Adapter;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PlacementsTest {
  private static final ServedSchedulers ALL =
      new ServedSchedulers(Optional.of("v1beta2"), true, Optional.of("v1alpha2"));

  /** What is served: K for Kueue, V for Volcano, P for PodGroup. */
  @ParameterizedTest
  @CsvSource(
      nullValues = "-",
      value = {
        // asked, queue, scheduler, served, chosen
        "Auto,-,-,KVP,PodGroup",
        "Auto,-,-,KV,None",
        "Auto,-,-,-,None",
        "Auto,lab,-,KVP,Kueue",
        "Auto,lab,-,VP,Volcano",
        "Auto,lab,volcano,KVP,Volcano",
        "Auto,-,volcano,KVP,Volcano",
        "Auto,-,volcano,KP,None",
        "Auto,-,mine,KVP,None",
        "None,-,-,KVP,None",
        "Kueue,lab,-,KVP,Kueue",
        "Volcano,-,-,KVP,Volcano",
        "PodGroup,-,-,KVP,PodGroup",
      })
  void theChoiceFollowsTheManifestAndWhatIsServed(
      Adapter asked, String queue, String scheduler, String served, Adapter chosen) {
    assertThat(chosen(asked, queue, scheduler, Optional.empty(), served(served)).adapter())
        .isEqualTo(chosen);
  }

  @ParameterizedTest
  @CsvSource(
      nullValues = "-",
      value = {
        "Kueue,lab,VP,kueue.x-k8s.io",
        "Volcano,-,KP,scheduling.volcano.sh/v1beta1",
        "PodGroup,-,KV,scheduling.k8s.io",
        "Auto,lab,P,neither",
      })
  void whatIsAskedForAndNotThereIsRefusedWithItsName(
      Adapter asked, String queue, String served, String named) {
    Placements.Choice choice =
        Placements.choose(spec(asked, queue), null, Optional.empty(), served(served));
    assertThat(choice)
        .isInstanceOfSatisfying(
            Placements.Choice.Unavailable.class,
            no -> assertThat(no.problem()).startsWith("scheduling.").contains(named));
  }

  @Test
  void aStartUnderWayKeepsItsChoiceWhateverIsInstalledOrRemoved() {
    var recorded =
        Optional.of(
            new PretrainJobStatus.Scheduling(
                Adapter.PodGroup, "scheduling.k8s.io/v1alpha1", "demo-attempt-1", null));
    assertThat(chosen(Adapter.Auto, null, null, recorded, ServedSchedulers.NONE))
        .isEqualTo(new PodGroupPlacement("v1alpha1"));
    var none = Optional.of(new PretrainJobStatus.Scheduling(Adapter.None, null, null, null));
    assertThat(chosen(Adapter.Auto, null, null, none, ALL)).isEqualTo(new Unmanaged());
  }

  private static Placement chosen(
      Adapter asked,
      String queue,
      String scheduler,
      Optional<PretrainJobStatus.Scheduling> recorded,
      ServedSchedulers served) {
    Placements.Choice choice = Placements.choose(spec(asked, queue), scheduler, recorded, served);
    return ((Placements.Choice.Chosen) choice).placement();
  }

  private static SchedulingSpec spec(Adapter adapter, String queue) {
    return new SchedulingSpec(adapter, queue, null);
  }

  private static ServedSchedulers served(String letters) {
    String all = letters == null ? "" : letters;
    return new ServedSchedulers(
        all.contains("K") ? ALL.kueue() : Optional.empty(),
        all.contains("V"),
        all.contains("P") ? ALL.podGroup() : Optional.empty());
  }
}
