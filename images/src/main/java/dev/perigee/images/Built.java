package dev.perigee.images;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * What Maven has left of a module.
 *
 * @param own the module's own jar
 * @param libraries the jars it needs, sorted by name
 * @param billOfMaterials CycloneDX's list of them
 * @param version of the project
 */
record Built(Path own, List<Path> libraries, Path billOfMaterials, String version) {
  /**
   * Looks into the module's target folder.
   *
   * @throws ImageException when something is not there
   */
  static Built of(Path home, ImageContents contents) throws IOException, ImageException {
    Path target = home.resolve(contents.module()).resolve("target");
    String prefix = "perigee-" + contents.module().replace("-image", "") + "-";
    List<Path> own =
        jars(target).stream().filter(j -> j.getFileName().toString().startsWith(prefix)).toList();
    List<Path> libraries = jars(target.resolve("lib"));
    Path bill = target.resolve("bom.json");
    if (own.size() != 1 || libraries.isEmpty() || !Files.isRegularFile(bill)) {
      throw new ImageException(
          target
              + " does not hold one "
              + prefix
              + "*.jar, lib/ and bom.json; build them first: ./perigee build");
    }
    String file = own.getFirst().getFileName().toString();
    return new Built(
        own.getFirst(),
        libraries,
        bill,
        file.substring(prefix.length(), file.length() - ".jar".length()).replace("-SNAPSHOT", ""));
  }

  private static List<Path> jars(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(folder)) {
      return files.filter(f -> f.toString().endsWith(".jar")).sorted().toList();
    }
  }
}
