package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ObjectStore.Change;
import dev.perigee.cli.cluster.api.ObjectStore.ChangeType;
import java.io.IOException;
import java.io.OutputStream;
import java.util.List;
import java.util.function.Predicate;
import java.util.function.UnaryOperator;

/** A stream of changes, one JSON object a line, as {@code watch=true} asks for. */
final class Watch {
  private static final long BOOKMARK_MILLIS = 30_000;

  private final ObjectStore store;

  /**
   * What to watch.
   *
   * @param namespace only this one, or empty for all
   * @param resourceVersion the state that the client has; empty or 0 for none, so that what exists
   *     comes first
   * @param initialEvents whether what exists comes first in any case, ended by a bookmark
   * @param bookmarks whether the client takes bookmarks
   */
  record Options(
      String resource,
      String namespace,
      String resourceVersion,
      boolean initialEvents,
      boolean bookmarks,
      long timeoutSeconds,
      ResourceType type) {}

  /** An object in the form that the client asked for: itself, or a table of one row. */
  @FunctionalInterface
  interface Form {
    ObjectNode of(ObjectNode object);
  }

  Watch(ObjectStore store) {
    this.store = store;
  }

  /** Writes changes until the time is over, the server closes or the client goes. */
  void run(
      Options options,
      Predicate<JsonNode> selected,
      UnaryOperator<ObjectNode> served,
      Form form,
      PodLogs.Answer answer)
      throws IOException, InterruptedException {
    long seen = startOf(options.resourceVersion());
    if (seen > 0) {
      store.changesAfter(seen, options.resource(), 0); // answers 410 while it still can
    }
    OutputStream out = answer.open();
    if (options.initialEvents() || seen == 0) {
      ObjectStore.Snapshot snapshot = store.list(options.resource(), options.namespace());
      for (ObjectNode object : snapshot.objects()) {
        ObjectNode there = served.apply(object);
        if (selected.test(there)) {
          emit(out, "ADDED", form.of(there));
        }
      }
      seen = snapshot.revision();
      if (options.initialEvents()) {
        emit(out, "BOOKMARK", bookmark(options.type(), seen, true));
      }
    }
    long end = System.nanoTime() + options.timeoutSeconds() * 1_000_000_000L;
    while (!store.closed()) {
      long left = (end - System.nanoTime()) / 1_000_000;
      if (left <= 0) {
        return;
      }
      List<Change> changes;
      try {
        changes = store.changesAfter(seen, options.resource(), Math.min(left, BOOKMARK_MILLIS));
      } catch (ApiError e) {
        emit(out, "ERROR", e.status());
        return;
      }
      if (changes.isEmpty()) {
        if (options.bookmarks()) {
          emit(out, "BOOKMARK", bookmark(options.type(), seen, false));
        }
        continue;
      }
      for (Change change : changes) {
        seen = change.revision();
        if (options.namespace().isEmpty() || change.key().namespace().equals(options.namespace())) {
          emitChange(out, change, selected, served, form);
        }
      }
    }
  }

  private static long startOf(String resourceVersion) {
    if (resourceVersion.isEmpty()) {
      return 0;
    }
    try {
      return Long.parseLong(resourceVersion);
    } catch (NumberFormatException e) {
      throw ApiError.badRequest("resourceVersion: " + resourceVersion + " is not a number");
    }
  }

  /** To a selector, an object that begins to fit is added, and one that ceases to is deleted. */
  private static void emitChange(
      OutputStream out,
      Change change,
      Predicate<JsonNode> selected,
      UnaryOperator<ObjectNode> served,
      Form form)
      throws IOException {
    ObjectNode object = served.apply(change.object());
    boolean was = change.previous() != null && selected.test(served.apply(change.previous()));
    boolean is = change.type() != ChangeType.DELETED && selected.test(object);
    if (is) {
      emit(out, was ? "MODIFIED" : "ADDED", form.of(object));
    } else if (was) {
      emit(out, "DELETED", form.of(object));
    }
  }

  private static ObjectNode bookmark(ResourceType type, long revision, boolean endOfInitial) {
    ObjectNode bookmark =
        Json.object().put("kind", type.kind()).put("apiVersion", type.apiVersion());
    ObjectNode metadata = Json.metadata(bookmark).put("resourceVersion", Long.toString(revision));
    if (endOfInitial) {
      metadata.putObject("annotations").put("k8s.io/initial-events-end", "true");
    }
    return bookmark;
  }

  /**
   * Writes one event. In ASCII: Fabric8's client reads a watch chunk by chunk, and takes a
   * character of several bytes for one that is followed by zeros (WatchHTTPManager, 7.6).
   */
  private static void emit(OutputStream out, String type, JsonNode object) throws IOException {
    ObjectNode event = Json.object().put("type", type);
    event.set("object", object);
    out.write(Json.ascii(event));
    out.write('\n');
    out.flush();
  }
}
