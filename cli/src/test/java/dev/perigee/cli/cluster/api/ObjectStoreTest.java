package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.yaml;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ObjectStore.Change;
import dev.perigee.cli.cluster.api.ObjectStore.ChangeType;
import dev.perigee.cli.cluster.api.ObjectStore.ObjectKey;
import org.junit.jupiter.api.Test;

class ObjectStoreTest {
  private final ObjectStore store = new ObjectStore();
  private final ObjectKey key = new ObjectKey("things", "default", "a");

  @Test
  void onlyTheFirstOfTwoWritesOverTheSameStateCounts() {
    ObjectNode first = store.replace(key, null, yaml("v: 1"));

    assertThat(store.replace(key, first, yaml("v: 2"))).isNotNull();
    assertThat(store.replace(key, first, yaml("v: 3"))).isNull();
    assertThat(store.replace(key, null, yaml("v: 4"))).isNull();
    assertThat(store.get(key).path("v").asInt()).isEqualTo(2);
  }

  @Test
  void changesComeInOrderAndOnce() throws InterruptedException {
    ObjectNode one = store.replace(key, null, yaml("v: 1"));
    ObjectNode two = store.replace(key, one, yaml("v: 2"));
    store.replace(new ObjectKey("others", "", "x"), null, yaml("v: 9"));
    store.replace(key, two, null);

    assertThat(store.changesAfter(0, "things", 0))
        .extracting(Change::type)
        .containsExactly(ChangeType.ADDED, ChangeType.MODIFIED, ChangeType.DELETED);
    assertThat(store.changesAfter(2, "things", 0)).hasSize(1);
    assertThat(store.changesAfter(4, "things", 0)).isEmpty();
  }

  @Test
  void aWaitEndsWithTheChangeItWaitsFor() throws InterruptedException {
    Thread writer = Thread.ofVirtual().unstarted(() -> store.replace(key, null, yaml("v: 1")));
    writer.start();

    assertThat(store.changesAfter(0, "things", 10_000)).hasSize(1);
  }

  @Test
  void aStateThatIsForgottenIsGone() {
    ObjectNode last = store.replace(key, null, yaml("v: 0"));
    for (int i = 1; i <= 20_001; i++) {
      last = store.replace(key, last, Json.object().put("v", i));
    }

    assertThatThrownBy(() -> store.changesAfter(1, "things", 0))
        .isInstanceOfSatisfying(ApiError.class, e -> assertThat(e.code()).isEqualTo(410));
  }
}
