package dev.perigee.cli.cluster.node;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.cli.cluster.api.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.BiFunction;
import java.util.stream.Collectors;

/**
 * A pod's volumes as folders, and its mounts as links to them beneath the pod's own root: what a
 * container has at {@code /perigee/run} is at {@code <root>/perigee/run}.
 */
final class PodFiles {
  private final Path folder;
  private final Path logs;
  private final Volumes claims;
  private final String namespace;
  private final BiFunction<String, String, ObjectNode> objects;

  /**
   * The files of one pod.
   *
   * @param folder the pod's folder, which goes when the pod goes
   * @param logs the folder of its logs, which stays
   * @param claims where volumes of claims are
   * @param objects looks up {@code configmaps}, {@code secrets} and {@code persistentvolumeclaims}
   *     of the namespace by kind and name; null when there is none
   */
  PodFiles(
      Path folder,
      Path logs,
      Volumes claims,
      String namespace,
      BiFunction<String, String, ObjectNode> objects) {
    this.folder = folder;
    this.logs = logs;
    this.claims = claims;
    this.namespace = namespace;
    this.objects = objects;
  }

  /** What stands for {@code /} in the container. */
  Path root() {
    return folder.resolve("root");
  }

  /** Where the log of a container's run goes. */
  Path log(String container, int restart) {
    return logs.resolve(container + "-" + restart + ".log");
  }

  /**
   * Makes the volumes and mounts.
   *
   * @throws IOException when something that a volume needs is not there, or another cluster writes
   *     to it; the message says what
   */
  void mount(JsonNode pod) throws IOException {
    Map<String, Path> volumes = new HashMap<>();
    for (JsonNode volume : Json.at(pod, "spec", "volumes")) {
      volumes.put(Json.text(volume, "name"), volume(volume));
    }
    Files.createDirectories(root());
    for (JsonNode container : Json.at(pod, "spec", "containers")) {
      for (JsonNode mount : container.path("volumeMounts")) {
        Path target = volumes.get(Json.text(mount, "name"));
        if (!mount.path("readOnly").asBoolean() && !target.startsWith(folder)) {
          claims.take(target);
        }
        String subPath = Json.text(mount, "subPath");
        if (!subPath.isEmpty()) {
          target = target.resolve(subPath);
          if (!Files.exists(target)) {
            Files.createDirectories(target);
          }
        }
        Path at = inRoot(Json.text(mount, "mountPath"));
        Files.createDirectories(at.getParent());
        Files.deleteIfExists(at);
        Files.createSymbolicLink(at, target.toAbsolutePath());
      }
    }
  }

  /** A path of the container on this machine. */
  Path inRoot(String path) {
    return root().resolve(path.replaceFirst("^/+", ""));
  }

  private Path volume(JsonNode volume) throws IOException {
    Path own = folder.resolve("volumes").resolve(Json.text(volume, "name"));
    if (volume.has("configMap")) {
      writeConfigMap(volume);
      return own;
    }
    if (volume.has("secret")) {
      String name = Json.text(volume, "secret", "secretName");
      Map<String, byte[]> content = new HashMap<>();
      required("secrets", name)
          .path("data")
          .properties()
          .forEach(e -> content.put(e.getKey(), Base64.getDecoder().decode(e.getValue().asText())));
      publish(own, content);
      return own;
    }
    if (volume.has("persistentVolumeClaim")) {
      String claim = Json.text(volume, "persistentVolumeClaim", "claimName");
      required("persistentvolumeclaims", claim);
      return Files.createDirectories(claims.folder(namespace, claim));
    }
    if (volume.has("hostPath")) {
      Path path = Path.of(Json.text(volume, "hostPath", "path"));
      String type = Json.text(volume, "hostPath", "type");
      if (type.equals("DirectoryOrCreate")) {
        Files.createDirectories(path);
      }
      if (!Files.exists(path) && type.isEmpty()) {
        // A container runtime makes the missing folder, empty. Here the pod gets an empty one and
        // the disk is left alone; the program then says which file it misses.
        return Files.createDirectories(own);
      }
      if (!Files.exists(path)) {
        throw new IOException("hostPath " + path + " does not exist");
      }
      return path;
    }
    if (volume.has("emptyDir")) {
      return Files.createDirectories(own);
    }
    throw new IOException(
        "volume "
            + Json.text(volume, "name")
            + ": the embedded node has configMap, secret, persistentVolumeClaim, hostPath and"
            + " emptyDir volumes only");
  }

  /** Writes the current content of the ConfigMap volumes of a pod, when it has changed. */
  void refresh(JsonNode pod) throws IOException {
    for (JsonNode volume : Json.at(pod, "spec", "volumes")) {
      if (volume.has("configMap")) {
        writeConfigMap(volume);
      }
    }
  }

  private void writeConfigMap(JsonNode volume) throws IOException {
    String name = Json.text(volume, "configMap", "name");
    ObjectNode map =
        volume.path("configMap").path("optional").asBoolean()
            ? Objects.requireNonNullElseGet(objects.apply("configmaps", name), Json::object)
            : required("configmaps", name);
    Map<String, byte[]> all = new HashMap<>();
    map.path("data")
        .properties()
        .forEach(e -> all.put(e.getKey(), e.getValue().asText().getBytes(StandardCharsets.UTF_8)));
    map.path("binaryData")
        .properties()
        .forEach(e -> all.put(e.getKey(), Base64.getDecoder().decode(e.getValue().asText())));
    JsonNode items = volume.path("configMap").path("items");
    Map<String, byte[]> chosen = new HashMap<>();
    for (JsonNode item : items) {
      byte[] value = all.get(Json.text(item, "key"));
      if (value == null) {
        throw new IOException(
            "configmap references non-existent config key: " + Json.text(item, "key"));
      }
      chosen.put(Json.text(item, "path"), value);
    }
    publish(
        folder.resolve("volumes").resolve(Json.text(volume, "name")),
        items.isEmpty() ? all : chosen);
  }

  private ObjectNode required(String plural, String name) throws IOException {
    ObjectNode found = objects.apply(plural, name);
    if (found == null) {
      throw new IOException(
          plural.substring(0, plural.length() - 1) + " \"" + name + "\" not found");
    }
    return found;
  }

  /**
   * Shows new content all at once, as a kubelet does: the files are links through {@code ..data},
   * which is a link to a folder of that content.
   */
  private static void publish(Path volume, Map<String, byte[]> content) throws IOException {
    Files.createDirectories(volume);
    Path data = volume.resolve("..data");
    if (same(data, content)) {
      return;
    }
    Path fresh = Files.createTempDirectory(volume, "..");
    for (Map.Entry<String, byte[]> file : content.entrySet()) {
      Path path = fresh.resolve(file.getKey());
      Files.createDirectories(path.getParent());
      Files.write(path, file.getValue());
    }
    Path old = Files.exists(data) ? data.toRealPath() : null;
    Path link = volume.resolve("..data_next");
    Files.deleteIfExists(link);
    Files.createSymbolicLink(link, fresh.getFileName());
    Files.move(link, data, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    for (String name : content.keySet()) {
      Path at = volume.resolve(name);
      if (!Files.isSymbolicLink(at)) {
        Files.createDirectories(at.getParent());
        Path depth = at.getParent().relativize(volume);
        Files.createSymbolicLink(at, depth.resolve("..data").resolve(name).normalize());
      }
    }
    if (old != null) {
      Folders.deleteTree(old);
    }
  }

  private static boolean same(Path data, Map<String, byte[]> content) throws IOException {
    if (!Files.isDirectory(data)) {
      return false;
    }
    for (Map.Entry<String, byte[]> file : content.entrySet()) {
      Path path = data.resolve(file.getKey());
      if (!Files.exists(path) || !Arrays.equals(Files.readAllBytes(path), file.getValue())) {
        return false;
      }
    }
    try (var files = Files.list(data)) {
      return files.count() == content.size();
    }
  }

  /**
   * What a container that ended has left for its status: the content of its termination message
   * file or, when that is empty and it is asked for, the end of its log.
   */
  String terminationMessage(JsonNode container, int restart, int exitCode) {
    try {
      Path left = inRoot(Json.text(container, "terminationMessagePath"));
      String message = Files.isRegularFile(left) ? tail(left, 4096) : "";
      boolean fallback =
          Json.text(container, "terminationMessagePolicy").equals("FallbackToLogsOnError");
      Path log = log(Json.text(container, "name"), restart);
      if (message.isEmpty() && fallback && exitCode != 0 && Files.exists(log)) {
        // Each line of the file begins with its time, which is not the program's.
        message =
            tail(log, 2048)
                .lines()
                .map(line -> line.substring(line.indexOf(' ') + 1))
                .collect(Collectors.joining("\n"));
      }
      return message;
    } catch (IOException e) {
      return "the termination message cannot be read: " + e.getMessage();
    }
  }

  private static String tail(Path file, int bytes) throws IOException {
    byte[] all = Files.readAllBytes(file);
    int from = Math.max(0, all.length - bytes);
    return new String(all, from, all.length - from, StandardCharsets.UTF_8).strip();
  }

  /** Deletes what is the pod's own; its logs stay. */
  void unmount() throws IOException {
    Folders.deleteTree(folder);
  }
}
