package dev.perigee.trainer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonMappingException;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.exc.UnrecognizedPropertyException;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.perigee.plan.StepPlan;
import dev.perigee.run.ExitCode;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import java.io.IOException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * What the program is started with.
 *
 * @param root what relative paths in the configuration are relative to
 * @param config the run, without problems
 * @param ranks who is where
 * @param pod this pod's index, -1 for a spare that has none yet
 * @param address where this pod listens
 * @param name of this pod as rank maps know it; of a spare without what follows the first dot
 */
record Launch(
    Path root, RunConfig config, RankMap ranks, int pod, InetAddress address, String name) {
  private static final int NO_PLACE = -1;

  private static final ObjectMapper JSON =
      JsonMapper.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
          .enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
          .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
          .build();

  /** What relative paths are relative to. */
  static Path root(Map<String, String> environment) {
    return Path.of(environment.getOrDefault(RunFiles.ROOT_VARIABLE, RunFiles.CONTAINER_ROOT));
  }

  /**
   * Reads {@code run/run.json} and {@code run/ranks.json}.
   *
   * @param environment {@code PERIGEE_ROOT} (default {@code /perigee}), {@code PERIGEE_POD_INDEX}
   *     (default 0) or, of a spare, {@code PERIGEE_SPARE}, and {@code PERIGEE_POD_IP}
   * @throws TrainerException with one line that names the file, the field and what was expected
   */
  static Launch read(Map<String, String> environment) throws TrainerException {
    Path root = root(environment);
    Path runFile = root.resolve("run/run.json");
    Path ranksFile = root.resolve("run/ranks.json");
    RunConfig config = read(runFile, RunConfig.class);
    List<String> problems = config.problems();
    if (!problems.isEmpty()) {
      throw bad(runFile + ": " + String.join("; ", problems));
    }
    List<String> impossible = StepPlan.problems(config, config.model().config());
    if (!impossible.isEmpty()) {
      throw bad(runFile + ": " + String.join("; ", impossible));
    }
    RankMap ranks = read(ranksFile, RankMap.class);
    String spare = environment.getOrDefault(RunFiles.SPARE_VARIABLE, "");
    if (!spare.isEmpty()) {
      checkRanks(config, ranks, ranksFile);
      return new Launch(root, config, ranks, NO_PLACE, address(environment, spare), spare);
    }
    int pod = podIndex(environment.getOrDefault("PERIGEE_POD_INDEX", "0"), ranks, ranksFile);
    checkRanks(config, ranks, ranksFile);
    String name = ranks.pods().get(pod).name();
    return new Launch(root, config, ranks, pod, address(environment, name), name);
  }

  /** Whether this pod waits for any place. */
  boolean isSpare() {
    return pod == NO_PLACE;
  }

  /**
   * The same pod in a later start of its gang; empty when the map has no place for it. A pod that
   * somebody else has replaced must not take part, so it is the name that counts.
   */
  Optional<Launch> in(RankMap later) {
    return later.pods().stream()
        .filter(
            place ->
                isSpare()
                    ? place.name().startsWith(name + ".")
                    : place.index() == pod && place.name().equals(name))
        .findFirst()
        .map(place -> new Launch(root, config, later, place.index(), address, name));
  }

  private static <T> T read(Path file, Class<T> type) throws TrainerException {
    try {
      T value = JSON.readValue(Files.readAllBytes(file), type);
      if (value == null) {
        throw bad(file + ": expected an object, found null");
      }
      return value;
    } catch (NoSuchFileException e) {
      throw bad(file + " is not there; expected the job's ConfigMap mounted at PERIGEE_ROOT/run");
    } catch (UnrecognizedPropertyException e) {
      String known =
          e.getKnownPropertyIds().stream()
              .map(Object::toString)
              .sorted()
              .collect(Collectors.joining(", "));
      throw bad(file + ": " + path(e) + ": unknown field; expected one of " + known);
    } catch (JsonMappingException e) {
      throw bad(file + ": " + path(e) + ": " + firstLine(e.getOriginalMessage()));
    } catch (JsonProcessingException e) {
      throw bad(
          file
              + " line "
              + e.getLocation().getLineNr()
              + ": not JSON: "
              + firstLine(e.getOriginalMessage()));
    } catch (IOException e) {
      throw new TrainerException(ExitCode.STORAGE, "cannot read " + file + ": " + e, e);
    }
  }

  /** The field that an error is about, as one writes it: {@code data[0].weight}. */
  private static String path(JsonMappingException e) {
    StringBuilder path = new StringBuilder();
    for (JsonMappingException.Reference step : e.getPath()) {
      if (step.getFieldName() == null) {
        path.append('[').append(step.getIndex()).append(']');
      } else {
        path.append(path.isEmpty() ? "" : ".").append(step.getFieldName());
      }
    }
    return path.isEmpty() ? "the document" : path.toString();
  }

  private static String firstLine(String message) {
    return message.lines().findFirst().orElse("");
  }

  private static int podIndex(String value, RankMap ranks, Path file) throws TrainerException {
    int pods = ranks.pods().size();
    try {
      int pod = Integer.parseInt(value);
      if (pod >= 0 && pod < pods) {
        return pod;
      }
    } catch (NumberFormatException e) {
      // Said below.
    }
    throw bad(
        "PERIGEE_POD_INDEX: "
            + value
            + "; expected 0 to "
            + (pods - 1)
            + ", as "
            + file
            + " has "
            + pods
            + " pods");
  }

  private static void checkRanks(RunConfig config, RankMap ranks, Path file)
      throws TrainerException {
    int listed = 0;
    Set<Integer> held = new HashSet<>();
    for (int i = 0; i < ranks.pods().size(); i++) {
      RankMap.Pod pod = ranks.pods().get(i);
      if (pod.index() != i) {
        throw bad(file + ": pods[" + i + "] has index " + pod.index() + "; expected " + i);
      }
      if (pod.ranks() == null || pod.ranks().isEmpty() || pod.name() == null) {
        throw bad(file + ": pods[" + pod.index() + "]: expected a name and ranks");
      }
      listed += pod.ranks().size();
      held.addAll(pod.ranks());
    }
    if (listed != config.mesh().world()) {
      throw bad(
          file + ": holds " + listed + " ranks; the mesh of run.json has " + config.mesh().world());
    }
    for (int rank = 0; rank < listed; rank++) {
      if (!held.contains(rank)) {
        throw bad(
            "%s: rank %d of %d is in no pod, so another is in two or is none"
                .formatted(file, rank, listed));
      }
    }
  }

  private static InetAddress address(Map<String, String> environment, String self)
      throws TrainerException {
    String ip = environment.getOrDefault("PERIGEE_POD_IP", "");
    try {
      if (!ip.isBlank()) {
        return InetAddress.ofLiteral(ip);
      }
    } catch (IllegalArgumentException e) {
      throw bad("PERIGEE_POD_IP: " + ip + " is not an IP address");
    }
    try {
      return InetAddress.getByName(self);
    } catch (UnknownHostException e) {
      // A pod's own name may come into the DNS only after it is ready: listen everywhere.
      try {
        return InetAddress.getByAddress(new byte[4]);
      } catch (UnknownHostException impossible) {
        throw new IllegalStateException(impossible);
      }
    }
  }

  private static TrainerException bad(String message) {
    return new TrainerException(ExitCode.BAD_CONFIG, message);
  }

  /** A digest of the run's configuration, which all pods of a gang must share. */
  String digest() {
    try {
      MessageDigest sha256 = MessageDigest.getInstance("SHA-256");
      return HexFormat.of().formatHex(sha256.digest(JSON.writeValueAsBytes(config)));
    } catch (NoSuchAlgorithmException | JsonProcessingException e) {
      throw new IllegalStateException(e);
    }
  }

  /** A path of the configuration. */
  Path resolve(String path) {
    return root.resolve(path);
  }
}
