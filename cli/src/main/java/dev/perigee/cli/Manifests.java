package dev.perigee.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.LongNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.ApiError;
import dev.perigee.cli.cluster.api.ApiServer;
import dev.perigee.cli.cluster.api.Json;
import dev.perigee.cli.cluster.api.ResourceType;
import dev.perigee.cli.cluster.api.Write;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;

/** Manifests: YAML or JSON files of one or more documents. */
final class Manifests {
  private static final int MAX_BYTES = 3 << 20; // as the API server takes of one object

  private static final LoadSettings YAML =
      LoadSettings.builder().setSchema(new KubectlSchema()).setAllowDuplicateKeys(false).build();

  /**
   * One document.
   *
   * @param where the file and the document's number, for messages
   */
  record Document(String where, ObjectNode object) {
    String kind() {
      return Json.text(object, "kind");
    }
  }

  private Manifests() {}

  /**
   * Reads files.
   *
   * @throws CommandFailure when one is missing or is not a manifest; the message names it
   */
  static List<Document> read(List<Path> files) {
    List<Document> documents = new ArrayList<>();
    for (Path file : files) {
      if (!isStandardInput(file) && (!Files.exists(file) || Files.isDirectory(file))) {
        throw new CommandFailure(
            file + " is not a file; give manifests (YAML or JSON; - is standard input)", 2);
      }
      read(file, documents);
    }
    return documents;
  }

  private static void read(Path file, List<Document> documents) {
    int before = documents.size();
    int number = 0;
    try (InputStream in = isStandardInput(file) ? System.in : Files.newInputStream(file)) {
      byte[] bytes = in.readNBytes(MAX_BYTES + 1);
      if (bytes.length > MAX_BYTES) {
        throw new CommandFailure(
            file + " has more than " + MAX_BYTES + " bytes, which is more than manifests take", 2);
      }
      for (Object value : new Load(YAML).loadAllFromInputStream(new ByteArrayInputStream(bytes))) {
        if (value != null) { // a file may end with a separator
          String where = file + ", document " + (number + 1);
          add(where, tree(where, value), documents);
        }
        number++;
      }
    } catch (MarkedYamlEngineException e) {
      throw new CommandFailure(
          file
              + e.getProblemMark().map(at -> ", line " + (at.getLine() + 1)).orElse("")
              + ": not YAML: "
              + e.getProblem(),
          2);
    } catch (YamlEngineException e) {
      if (e.getCause() instanceof CharacterCodingException) {
        throw new CommandFailure(file + " is not UTF-8; expected a manifest, YAML or JSON", 2);
      }
      throw new CommandFailure(
          file + ": not YAML: " + e.getMessage().lines().findFirst().orElse(""), 2);
    } catch (StackOverflowError e) { // an alias of what it is in, or brackets without end
      throw new CommandFailure(
          file + ", document " + (number + 1) + ": nested without end, or too deeply", 2);
    } catch (IOException e) {
      throw new CommandFailure(file + " cannot be read: " + e.getMessage());
    }
    if (documents.size() == before) {
      throw new CommandFailure(
          (isStandardInput(file) ? "standard input" : file) + " holds no manifest", 2);
    }
  }

  /** YAML's values as JSON's, the way kubectl sends them: 4.0 and 1e3 are whole numbers. */
  private static JsonNode tree(String where, Object value) {
    return switch (value) {
      case Map<?, ?> map -> {
        ObjectNode object = Json.object();
        map.forEach((key, field) -> object.set(String.valueOf(key), tree(where, field)));
        yield object;
      }
      case List<?> list -> {
        ArrayNode array = Json.array();
        list.forEach(item -> array.add(tree(where, item)));
        yield array;
      }
      case Double number when !Double.isFinite(number) ->
          throw new CommandFailure(where + ": " + number + "; expected a number that JSON has", 2);
      case Double number when Math.rint(number) == number && Math.abs(number) < 1L << 53 ->
          LongNode.valueOf(number.longValue());
      case null, default -> Json.MAPPER.valueToTree(value);
    };
  }

  /** Adds a document; of a {@code List}, as kubectl writes several objects, its items. */
  private static void add(String where, JsonNode tree, List<Document> documents) {
    if (!(tree instanceof ObjectNode object)
        || Json.text(tree, "apiVersion").isEmpty()
        || Json.text(tree, "kind").isEmpty()) {
      throw new CommandFailure(where + ": not a manifest; expected apiVersion and kind", 2);
    }
    if (!Json.text(tree, "kind").equals("List") || !Json.text(tree, "apiVersion").equals("v1")) {
      documents.add(new Document(where, object));
      return;
    }
    if (!(tree.get("items") instanceof ArrayNode items)) {
      throw new CommandFailure(where + ": a List without items", 2);
    }
    for (int i = 0; i < items.size(); i++) {
      add(where + ", item " + (i + 1), items.get(i), documents);
    }
  }

  private static boolean isStandardInput(Path file) {
    return file.toString().equals("-");
  }

  /**
   * Creates the documents' objects; none at all when one is refused.
   *
   * @throws CommandFailure with what the API server says to the first one that it refuses
   */
  static void create(List<Document> documents, ApiServer api) {
    for (boolean dryRun : new boolean[] {true, false}) {
      for (Document document : documents) {
        create(document, api, dryRun);
      }
    }
  }

  private static void create(Document document, ApiServer api, boolean dryRun) {
    ObjectNode object = document.object().deepCopy();
    ResourceType type =
        api.catalog()
            .ofKind(Json.text(object, "apiVersion"), document.kind())
            .orElseThrow(
                () ->
                    new CommandFailure(
                        document.where()
                            + ": no matches for kind \""
                            + document.kind()
                            + "\" in version \""
                            + Json.text(object, "apiVersion")
                            + "\""));
    String namespace = Json.text(object, "metadata", "namespace");
    Write write = Write.strictly("perigee-run");
    try {
      api.registry()
          .create(
              type,
              type.namespaced() ? (namespace.isEmpty() ? "default" : namespace) : "",
              object,
              dryRun ? write.dry() : write);
    } catch (ApiError e) {
      throw new CommandFailure(document.where() + ": " + e.getMessage());
    }
  }

  /**
   * Lets the first data source on a volume read from a file or folder of this machine.
   *
   * @throws CommandFailure when there is no such source, or no such file
   */
  static void overrideData(List<Document> documents, Path data) {
    Path absolute = data.toAbsolutePath().normalize();
    if (!Files.exists(absolute)) {
      throw new CommandFailure("--data: " + absolute + " does not exist", 2);
    }
    for (Document document : documents) {
      if (!document.kind().equals("PretrainJob")
          || !(Json.at(document.object(), "spec", "data") instanceof ArrayNode sources)) {
        continue;
      }
      for (JsonNode source : sources) {
        if (source instanceof ObjectNode entry && !entry.has("builtin")) {
          boolean folder = Files.isDirectory(absolute);
          Path volume = folder ? absolute : absolute.getParent();
          entry.putObject("volume").putObject("hostPath").put("path", volume.toString());
          entry.put("path", folder ? "." : absolute.getFileName().toString());
          return;
        }
      }
    }
    throw new CommandFailure("--data: no PretrainJob has a data source on a volume to replace", 2);
  }
}
