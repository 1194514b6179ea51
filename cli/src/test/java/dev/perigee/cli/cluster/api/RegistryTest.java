package dev.perigee.cli.cluster.api;

import static dev.perigee.cli.cluster.api.ToyCrd.toy;
import static dev.perigee.cli.cluster.api.ToyCrd.yaml;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.List;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class RegistryTest {
  private final ObjectStore store = new ObjectStore();
  private final ResourceCatalog catalog = new ResourceCatalog();
  private final Registry registry = new Registry(store, catalog);
  private final GarbageCollector collector = new GarbageCollector(store, catalog, registry);
  private ResourceType toys;

  @BeforeEach
  void defineToys() {
    registry.create(
        catalog.core("namespaces"), "", yaml("metadata: {name: default}"), Write.by("test"));
    registry.create(
        catalog.find("apiextensions.k8s.io/v1", "customresourcedefinitions").orElseThrow(),
        "",
        yaml(ToyCrd.YAML),
        Write.by("test"));
    toys = catalog.find("example.dev/v1", "toys").orElseThrow();
  }

  @AfterEach
  void close() {
    store.close();
    collector.close();
  }

  private ObjectNode create(String name, String spec) {
    return registry.create(toys, "default", toy(name, spec), Write.by("creator"));
  }

  private ObjectNode apply(String manager, String spec, boolean force) {
    return registry.apply(toys, "default", "a", "", toy("a", spec), force, Write.by(manager));
  }

  private static void refused(ThrowingCallable call, int code, String message) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(ApiError.class, e -> assertThat(e.code()).isEqualTo(code))
        .hasMessageContaining(message);
  }

  @Test
  void strictCreationRefusesUnknownFieldsByName() {
    refused(
        () -> registry.create(toys, "default", toy("a", "{size: 4, foo: 1}"), Write.strictly("t")),
        400,
        "Toy in version \"v1\" cannot be handled as a Toy: strict decoding error: unknown field"
            + " \"spec.foo\"");
  }

  @Test
  void anInvalidObjectIsRefusedWithEveryCause() {
    refused(
        () -> create("a", "{size: 0, color: green}"),
        422,
        "Toy.example.dev \"a\" is invalid: [spec.size: Invalid value: 0");
  }

  @Test
  void anObjectInNoNamespaceIsRefused() {
    refused(
        () -> registry.create(toys, "elsewhere", toy("a", "{size: 4}"), Write.by("t")),
        404,
        "namespaces \"elsewhere\" not found");
  }

  @Test
  void anUpdateWithAnOldVersionIsAConflict() {
    ObjectNode seen = create("a", "{size: 4}").deepCopy();
    registry.update(toys, "default", "a", "", o -> resized(o, 6), Write.by("t"));

    refused(
        () -> registry.update(toys, "default", "a", "", o -> resized(seen, 8), Write.by("t")),
        409,
        "the object has been modified");
  }

  private static ObjectNode resized(ObjectNode toy, int size) {
    Json.child(toy, "spec").put("size", size);
    return toy;
  }

  @Test
  void anUpdateThatChangesNothingWritesNothing() {
    ObjectNode created = create("a", "{size: 4}");

    ObjectNode updated = registry.update(toys, "default", "a", "", o -> o, Write.by("other"));

    assertThat(Json.text(updated, "metadata", "resourceVersion"))
        .isEqualTo(Json.text(created, "metadata", "resourceVersion"));
  }

  @Test
  void theGenerationCountsChangesOfTheSpecificationOnly() {
    create("a", "{size: 4}");
    registry.update(
        toys,
        "default",
        "a",
        "status",
        o -> {
          o.putObject("status").putArray("conditions").addObject().put("type", "Ready");
          return o;
        },
        Write.by("t"));
    ObjectNode labelled =
        registry.update(
            toys,
            "default",
            "a",
            "",
            o -> {
              Json.child(Json.metadata(o), "labels").put("x", "y");
              o.remove("status");
              return o;
            },
            Write.by("t"));

    assertThat(Json.at(labelled, "metadata", "generation").asInt()).isEqualTo(1);
    assertThat(Json.at(labelled, "status", "conditions")).hasSize(1);
    ObjectNode resized =
        registry.update(toys, "default", "a", "", o -> resized(o, 6), Write.by("t"));
    assertThat(Json.at(resized, "metadata", "generation").asInt()).isEqualTo(2);
  }

  @Test
  void aStatusUpdateChangesTheStatusOnly() {
    create("a", "{size: 4}");

    ObjectNode updated =
        registry.update(
            toys,
            "default",
            "a",
            "status",
            o -> {
              resized(o, 6).putObject("status").putArray("conditions");
              return o;
            },
            Write.by("t"));

    assertThat(Json.at(updated, "spec", "size").asInt()).isEqualTo(4);
    assertThat(updated.has("status")).isTrue();
  }

  @Test
  void applyingTheSameTwiceWritesNothing() {
    ObjectNode first = apply("one", "{size: 4, parts: [{name: x}]}", false);

    ObjectNode second = apply("one", "{size: 4, parts: [{name: x}]}", false);

    assertThat(second).isEqualTo(first);
  }

  @Test
  void applyingRemovesWhatIsNoLongerApplied() {
    apply(
        "one",
        "{size: 4, label: abc, limits: {a: 1}, parts: [{name: x, kind: k}, {name: y}]}",
        false);

    ObjectNode next = apply("one", "{size: 4, parts: [{name: x}]}", false);

    assertThat(next.path("spec"))
        .isEqualTo(yaml("{size: 4, color: red, parts: [{name: x, count: 3}]}"));
  }

  @Test
  void whatTwoManagersApplyStaysUntilBothLetGo() {
    apply("one", "{size: 4, label: abc}", false);
    apply("two", "{size: 4, label: abc}", false);

    assertThat(Json.text(apply("one", "{size: 4}", false), "spec", "label")).isEqualTo("abc");
    assertThat(Json.at(apply("two", "{size: 4}", false), "spec").has("label")).isFalse();
  }

  @Test
  void applyingOverAnothersValueIsAConflictUnlessForced() {
    apply("one", "{size: 4}", false);

    refused(
        () -> apply("two", "{size: 6}", false),
        409,
        "Apply failed with 1 conflict: conflict with \"one\" using example.dev/v1: .spec.size");
    assertThat(Json.at(apply("two", "{size: 6}", true), "spec", "size").asInt()).isEqualTo(6);
    refused(() -> apply("one", "{size: 4}", false), 409, "conflict with \"two\"");
  }

  @Test
  void managersApplyEntriesOfOneKeyedListSideBySide() {
    apply("one", "{size: 4, parts: [{name: x}]}", false);

    ObjectNode both = apply("two", "{size: 4, parts: [{name: y, count: 1}]}", false);

    assertThat(Json.at(both, "spec", "parts"))
        .isEqualTo(yaml("p: [{name: x, count: 3}, {name: y, count: 1}]").path("p"));
  }

  @Test
  void anUpdateTakesOwnershipOfWhatItChanges() {
    apply("one", "{size: 4, label: abc}", false);
    registry.update(toys, "default", "a", "", o -> resized(o, 6), Write.by("editor"));

    refused(() -> apply("one", "{size: 4, label: abc}", false), 409, "conflict with \"editor\"");
  }

  @Test
  void aDryRunChecksAndLeavesNothing() {
    registry.create(toys, "default", toy("a", "{size: 4}"), Write.by("t").dry());

    refused(() -> registry.get(toys, "default", "a"), 404, "toys.example.dev \"a\" not found");
  }

  @Test
  void aFinalizerHoldsADeletedObjectUntilItIsRemoved() {
    create("a", "{size: 4}");
    registry.update(toys, "default", "a", "", o -> withFinalizers(o, "x"), Write.by("t"));

    ObjectNode marked = registry.delete(toys, "default", "a", Deletion.DEFAULT, false);

    assertThat(Json.at(marked, "metadata").has("deletionTimestamp")).isTrue();
    assertThat(registry.get(toys, "default", "a")).isEqualTo(marked);
    registry.update(toys, "default", "a", "", RegistryTest::withFinalizers, Write.by("t"));
    refused(() -> registry.get(toys, "default", "a"), 404, "not found");
  }

  private static ObjectNode withFinalizers(ObjectNode object, String... finalizers) {
    var array = Json.metadata(object).putArray("finalizers");
    List.of(finalizers).forEach(array::add);
    return object;
  }

  @Test
  void whatADeletedObjectOwnsGoesToo() {
    ObjectNode owner = create("owner", "{size: 4}");
    own("child", owner);

    registry.delete(toys, "default", "owner", Deletion.DEFAULT, false);

    await(() -> store.list(toys.storageName(), "default").objects().isEmpty());
  }

  @Test
  void aForegroundDeletionWaitsForWhatIsOwned() {
    ObjectNode owner = create("owner", "{size: 4}");
    own("child", owner);
    registry.update(toys, "default", "child", "", o -> withFinalizers(o, "x"), Write.by("t"));

    registry.delete(
        toys,
        "default",
        "owner",
        new Deletion(Deletion.Propagation.Foreground, null, "", ""),
        false);

    await(
        () -> Json.at(registry.get(toys, "default", "child"), "metadata").has("deletionTimestamp"));
    assertThat(registry.get(toys, "default", "owner")).isNotNull();
    registry.update(
        toys,
        "default",
        "child",
        "",
        o -> {
          ((com.fasterxml.jackson.databind.node.ArrayNode) Json.at(o, "metadata", "finalizers"))
              .removeIf(f -> f.asText().equals("x"));
          return o;
        },
        Write.by("t"));
    await(() -> store.list(toys.storageName(), "default").objects().isEmpty());
  }

  @Test
  void anOrphaningDeletionLeavesWhatWasOwned() {
    ObjectNode owner = create("owner", "{size: 4}");
    own("child", owner);

    registry.delete(
        toys, "default", "owner", new Deletion(Deletion.Propagation.Orphan, null, "", ""), false);

    await(
        () ->
            store.list(toys.storageName(), "default").objects().size() == 1
                && Json.at(registry.get(toys, "default", "child"), "metadata", "ownerReferences")
                    .isEmpty());
  }

  private void own(String name, ObjectNode owner) {
    ObjectNode child = toy(name, "{size: 4}");
    Json.metadata(child)
        .putArray("ownerReferences")
        .addObject()
        .put("apiVersion", "example.dev/v1")
        .put("kind", "Toy")
        .put("name", Json.text(owner, "metadata", "name"))
        .put("uid", Json.text(owner, "metadata", "uid"))
        .put("blockOwnerDeletion", true);
    registry.create(toys, "default", child, Write.by("t"));
  }

  @Test
  void aDeletedNamespaceGoesWithAllThatIsInIt() {
    registry.create(catalog.core("namespaces"), "", yaml("metadata: {name: n}"), Write.by("t"));
    registry.create(toys, "n", toy("a", "{size: 4}"), Write.by("t"));

    registry.delete(catalog.core("namespaces"), "", "n", Deletion.DEFAULT, false);

    await(
        () ->
            store.list("namespaces", "").objects().size() == 1
                && store.list(toys.storageName(), "n").objects().isEmpty());
  }

  @Test
  void aDeletedDefinitionTakesItsObjectsAndItsKindWithIt() {
    create("a", "{size: 4}");

    registry.delete(
        catalog.find("apiextensions.k8s.io/v1", "customresourcedefinitions").orElseThrow(),
        "",
        "toys.example.dev",
        Deletion.DEFAULT,
        false);

    await(() -> catalog.find("example.dev/v1", "toys").isEmpty());
    assertThat(store.list(toys.storageName(), "").objects()).isEmpty();
  }

  private static void await(java.util.concurrent.Callable<Boolean> condition) {
    Awaitility.await().atMost(Duration.ofSeconds(10)).until(condition);
  }
}
