package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError.Cause;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Who owns which field ({@code metadata.managedFields}), and server-side apply, which rests on it:
 * what a manager no longer applies goes, unless another owns it too; what another owns and has set
 * otherwise is a conflict, unless forced.
 */
final class FieldOwnership {
  /** A manager, by name, by how it writes and by the subresource it writes to. */
  record Owner(String manager, String operation, String subresource) {}

  /** What an owner owns. */
  private record Claim(FieldSet fields, String apiVersion, String time) {}

  private FieldOwnership() {}

  /**
   * Records a create, an update or a patch: the owner gets every field whose value it changed.
   *
   * @param before the object before, null when it is created
   * @param after the object after; its managedFields are written here
   */
  static void recordUpdate(ResourceType type, ObjectNode before, ObjectNode after, Owner owner) {
    Schema schema = type.schema();
    Map<Owner, Claim> claims = read(after);
    FieldSet had = before == null ? FieldSet.empty() : FieldSet.of(schema, before);
    FieldSet has = FieldSet.of(schema, after);
    List<List<String>> changed = new ArrayList<>();
    for (List<String> path : has.paths()) {
      if (!had.contains(path)
          || (!path.getLast().equals(".")
              && !FieldSet.valueAt(schema, after, path)
                  .equals(FieldSet.valueAt(schema, before, path)))) {
        changed.add(path);
      }
    }
    List<List<String>> gone = List.copyOf(had.minus(has.paths()).paths());
    if (changed.isEmpty() && gone.isEmpty()) {
      return;
    }
    claims.replaceAll(
        (other, claim) -> {
          FieldSet left = claim.fields().minus(gone);
          return new Claim(
              other.equals(owner) ? left : left.minus(changed), claim.apiVersion(), claim.time());
        });
    if (!changed.isEmpty()) {
      Claim own = claims.get(owner);
      FieldSet fields = own == null ? FieldSet.empty() : own.fields();
      claims.put(owner, new Claim(fields.plus(changed), type.apiVersion(), now()));
    }
    write(after, claims);
  }

  /**
   * Server-side apply.
   *
   * @param live the object as it is, null when there is none
   * @param applied all that the owner wants to own
   * @param force whether to take what others own
   * @return the object with it applied, and with new managedFields
   * @throws ApiError 409 when others own, with other values, what is applied
   */
  static ObjectNode apply(
      ResourceType type, ObjectNode live, ObjectNode applied, Owner owner, boolean force) {
    Schema schema = type.schema();
    Map<Owner, Claim> claims = live == null ? new LinkedHashMap<>() : read(live);
    FieldSet wanted = FieldSet.of(schema, applied);
    if (live != null) {
      Map<Owner, List<List<String>>> conflicts =
          conflicts(schema, live, applied, wanted, claims, owner);
      if (!force && !conflicts.isEmpty()) {
        throw refusal(type, conflicts);
      }
      conflicts.forEach(
          (other, paths) ->
              claims.computeIfPresent(
                  other, (o, c) -> new Claim(c.fields().minus(paths), c.apiVersion(), c.time())));
    }
    ObjectNode merged =
        live == null ? applied.deepCopy() : (ObjectNode) merge(schema, live, applied);
    Claim before = claims.get(owner);
    if (before != null) {
      removeDropped(schema, merged, before.fields().minus(wanted.paths()), claims, owner);
    }
    if (before == null || !before.fields().equals(wanted)) {
      claims.put(owner, new Claim(wanted, type.apiVersion(), now()));
    }
    write(merged, claims);
    return merged;
  }

  private static Map<Owner, List<List<String>>> conflicts(
      Schema schema,
      ObjectNode live,
      ObjectNode applied,
      FieldSet wanted,
      Map<Owner, Claim> claims,
      Owner owner) {
    Map<Owner, List<List<String>>> conflicts = new LinkedHashMap<>();
    for (List<String> path : wanted.paths()) {
      if (path.getLast().equals(".")) {
        continue;
      }
      JsonNode there = FieldSet.valueAt(schema, live, path);
      if (there == null || there.equals(FieldSet.valueAt(schema, applied, path))) {
        continue;
      }
      claims.forEach(
          (other, claim) -> {
            if (!other.equals(owner) && claim.fields().contains(path)) {
              conflicts.computeIfAbsent(other, o -> new ArrayList<>()).add(path);
            }
          });
    }
    return conflicts;
  }

  private static ApiError refusal(ResourceType type, Map<Owner, List<List<String>>> conflicts) {
    List<Cause> causes = new ArrayList<>();
    StringBuilder message = new StringBuilder();
    int count = conflicts.values().stream().mapToInt(List::size).sum();
    message
        .append("Apply failed with ")
        .append(count)
        .append(count == 1 ? " conflict" : " conflicts");
    conflicts.forEach(
        (other, paths) -> {
          String with = "\"" + other.manager() + "\"";
          if (!other.subresource().isEmpty()) {
            with += " with subresource \"" + other.subresource() + "\"";
          }
          with += " using " + type.apiVersion();
          message.append(paths.size() == 1 ? ": conflict with " : ": conflicts with ").append(with);
          for (List<String> path : paths) {
            String field = FieldSet.shown(path);
            message.append(paths.size() == 1 ? ": " : "\n- ").append(field);
            causes.add(new Cause("FieldManagerConflict", field, "conflict with " + with));
          }
        });
    return ApiError.applyConflict(causes, message.toString());
  }

  /** The applied fields over the live ones; lists by their entries' keys where they have any. */
  private static JsonNode merge(Schema schema, JsonNode live, JsonNode applied) {
    if (live instanceof ObjectNode old
        && applied instanceof ObjectNode next
        && !schema.atomicMap()) {
      ObjectNode merged = old.deepCopy();
      next.properties()
          .forEach(
              f ->
                  merged.set(
                      f.getKey(),
                      merge(schema.property(f.getKey()), old.get(f.getKey()), f.getValue())));
      return merged;
    }
    if (live instanceof ArrayNode old
        && applied instanceof ArrayNode next
        && schema.listType() != Schema.ListType.atomic) {
      ArrayNode merged = old.deepCopy();
      for (JsonNode entry : next) {
        int at = FieldSet.indexOf(schema, merged, FieldSet.entryElement(schema, entry));
        if (at < 0) {
          merged.add(entry);
        } else {
          merged.set(at, merge(schema.items(), merged.get(at), entry));
        }
      }
      return merged;
    }
    return applied.deepCopy();
  }

  private static void removeDropped(
      Schema schema, ObjectNode merged, FieldSet dropped, Map<Owner, Claim> claims, Owner owner) {
    // Deepest first, so that an object that is emptied this way goes too.
    List<List<String>> deepestFirst = new ArrayList<>(dropped.paths());
    deepestFirst.sort(Comparator.comparingInt((List<String> path) -> path.size()).reversed());
    for (List<String> path : deepestFirst) {
      boolean shared =
          claims.entrySet().stream()
              .anyMatch(e -> !e.getKey().equals(owner) && e.getValue().fields().contains(path));
      if (!shared) {
        remove(schema, merged, path);
      }
    }
  }

  private static void remove(Schema schema, JsonNode value, List<String> path) {
    String element = path.getFirst();
    List<String> rest = path.subList(1, path.size());
    if (element.startsWith("f:") && value instanceof ObjectNode object) {
      String name = element.substring(2);
      if (rest.isEmpty()) {
        object.remove(name);
      } else if (object.has(name)) {
        remove(schema.property(name), object.get(name), rest);
        if (object.get(name).isContainerNode() && object.get(name).isEmpty()) {
          object.remove(name);
        }
      }
    } else if (value instanceof ArrayNode list) {
      int at = FieldSet.indexOf(schema, list, element);
      if (at >= 0 && (rest.isEmpty() || rest.getFirst().equals("."))) {
        list.remove(at);
      } else if (at >= 0) {
        // The key fields stay while the entry does: without them it could not be found again.
        boolean key = schema.listKeys().stream().anyMatch(k -> rest.equals(List.of("f:" + k)));
        if (!key) {
          remove(schema.items(), list.get(at), rest);
        }
      }
    }
  }

  private static Map<Owner, Claim> read(ObjectNode object) {
    Map<Owner, Claim> claims = new LinkedHashMap<>();
    for (JsonNode entry : object.path("metadata").path("managedFields")) {
      claims.put(
          new Owner(
              entry.path("manager").asText(),
              entry.path("operation").asText(),
              entry.path("subresource").asText("")),
          new Claim(
              FieldSet.fromFieldsV1(entry.path("fieldsV1")),
              entry.path("apiVersion").asText(),
              entry.path("time").asText()));
    }
    return claims;
  }

  private static void write(ObjectNode object, Map<Owner, Claim> claims) {
    ArrayNode entries = Json.array();
    Map<String, ObjectNode> sorted = new TreeMap<>();
    claims.forEach(
        (owner, claim) -> {
          if (claim.fields().isEmpty()) {
            return;
          }
          ObjectNode entry =
              Json.object()
                  .put("manager", owner.manager())
                  .put("operation", owner.operation())
                  .put("apiVersion", claim.apiVersion())
                  .put("time", claim.time())
                  .put("fieldsType", "FieldsV1");
          entry.set("fieldsV1", claim.fields().toFieldsV1());
          if (!owner.subresource().isEmpty()) {
            entry.put("subresource", owner.subresource());
          }
          sorted.put(owner.operation() + " " + owner.manager() + " " + owner.subresource(), entry);
        });
    sorted.values().forEach(entries::add);
    if (entries.isEmpty()) {
      Json.metadata(object).remove("managedFields");
    } else {
      Json.metadata(object).set("managedFields", entries);
    }
  }

  private static String now() {
    return Instant.now().truncatedTo(ChronoUnit.SECONDS).toString();
  }
}
