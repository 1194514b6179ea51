package dev.perigee.cli.cluster.node;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Which program of this machine an image stands for. */
@FunctionalInterface
public interface Programs {
  /**
   * A program.
   *
   * @param command how to start it; the container's args follow
   * @param jvm whether it is {@code java}, which takes options after the first word
   */
  record Program(List<String> command, boolean jvm) {
    /** The program with JVM options added, where it is one. */
    Program withJvmOptions(List<String> options) {
      if (!jvm) {
        return this;
      }
      List<String> longer = new ArrayList<>(command);
      longer.addAll(1, options);
      return new Program(List.copyOf(longer), true);
    }
  }

  /**
   * The program of an image, empty when there is none.
   *
   * @throws IOException when there should be one, and it is not built; the message says what to do
   */
  Optional<Program> of(String image) throws IOException;

  /**
   * The images of a checkout. Registry and tag of an image's name do not matter.
   *
   * @param home the checkout
   */
  static Programs ofCheckout(Path home) {
    return image ->
        switch (shortName(image)) {
          case "perigee-trainer", "trainer" -> Optional.of(trainer(home));
          default -> Optional.empty();
        };
  }

  private static Program trainer(Path home) throws IOException {
    Path module = home.resolve("trainer-image");
    Path classes = module.resolve("target/classes");
    if (!Files.isDirectory(classes)) {
      throw new IOException(classes + " does not exist; build it with ./perigee build");
    }
    return new Program(
        List.of(
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "@" + module.resolve("src/main/jvm/trainer.jvmargs"),
            "-cp",
            classes + ":" + module.resolve("target/lib") + "/*",
            "dev.perigee.trainer.Trainer"),
        true);
  }

  /** The last part of an image's name, without tag and digest. */
  static String shortName(String image) {
    String last = image.substring(image.lastIndexOf('/') + 1);
    int at = last.indexOf('@');
    last = at < 0 ? last : last.substring(0, at);
    int colon = last.indexOf(':');
    return colon < 0 ? last : last.substring(0, colon);
  }
}
