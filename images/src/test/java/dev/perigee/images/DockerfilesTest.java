package dev.perigee.images;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.FieldSource;

/** The Dockerfile beside a module makes what {@code ./perigee images} makes. */
class DockerfilesTest {
  static final List<ImageContents> IMAGES = ImageContents.ALL;

  @ParameterizedTest
  @FieldSource("IMAGES")
  void itHasTheSameBaseModulesOptionsAndProgram(ImageContents image) throws IOException {
    Path module = Path.of("..", image.module());
    String file = Files.readString(module.resolve("Dockerfile"));
    assertThat(file)
        .contains("FROM " + image.defaultBase() + "\n")
        .contains(" " + String.join(",", image.javaModules()) + "\n")
        .contains("USER 65532:65532\n")
        .contains(
            "EXPOSE " + String.join(" ", image.ports().stream().map(String::valueOf).toList()))
        .contains(
            "ENTRYPOINT [\"%s/runtime/bin/java\", \"@%s/options\", \"%s\"]"
                .formatted(StagedImage.ROOT, StagedImage.ROOT, image.mainClass()));
    List<String> options =
        Files.readAllLines(module.resolve("options")).stream()
            .filter(line -> !line.startsWith("#") && !line.startsWith("-cp "))
            .map(line -> line.replace("\"", ""))
            .toList();
    assertThat(options).isEqualTo(image.jvmOptions());
  }
}
