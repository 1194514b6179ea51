package dev.perigee.images;

import com.google.cloud.tools.jib.api.Containerizer;
import com.google.cloud.tools.jib.api.JibContainer;
import com.google.cloud.tools.jib.api.JibContainerBuilder;
import com.google.cloud.tools.jib.api.TarImage;
import com.google.cloud.tools.jib.api.buildplan.AbsoluteUnixPath;
import com.google.cloud.tools.jib.api.buildplan.FileEntriesLayer;
import com.google.cloud.tools.jib.api.buildplan.FilePermissions;
import com.google.cloud.tools.jib.api.buildplan.Port;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * An image in a tar file that container engines and {@code ctr images import} load.
 *
 * @param file the tar file
 * @param reference name and tag in it
 * @param digest of the image's manifest
 */
record ImageTar(Path file, String reference, String digest) {
  private static final FilePermissions PROGRAM = FilePermissions.fromOctalString("755");
  private static final FilePermissions FILE = FilePermissions.fromOctalString("644");

  /** Nobody; jobs and operator run as this user unless they say otherwise. */
  private static final String USER = "65532:65532";

  /**
   * Lays what was gathered on a base.
   *
   * @param work a folder for Jib's own files
   * @throws ImageException when the base cannot be had
   */
  static ImageTar write(StagedImage staged, BaseImage base, Path out, Path work)
      throws IOException, ImageException {
    ImageContents contents = staged.contents();
    String reference = contents.name() + ":" + staged.version();
    Path file = out.resolve(contents.name() + ".tar");
    try {
      JibContainerBuilder image =
          base.from(JavaRuntime.architecture())
              .setEntrypoint(staged.entrypoint())
              .setProgramArguments(List.of())
              .setUser(USER)
              .setWorkingDirectory(AbsoluteUnixPath.get(StagedImage.ROOT))
              .addEnvironmentVariable("LANG", "C.UTF-8") // else no path beyond ASCII can be opened
              .setCreationTime(Instant.EPOCH)
              .setLabels(labels(staged, base));
      for (int port : contents.ports()) {
        image.addExposedPort(Port.tcp(port));
      }
      // What changes least lies lowest, so that an upgrade moves little.
      addLayer(image, "runtime", staged, "runtime");
      addLayer(image, "libraries", staged, "lib", "native");
      addLayer(
          image, "program", staged, "app", StagedImage.CLASS_ARCHIVE, "options", "sbom.cdx.json");
      Containerizer to =
          Containerizer.to(TarImage.at(file).named(reference))
              .setApplicationLayersCache(work.resolve("layers"))
              .setToolName("perigee")
              .setToolVersion(staged.version())
              .setOfflineMode(!(base instanceof BaseImage.InRegistry));
      if (!(base instanceof BaseImage.InRegistry)) {
        to.setBaseImageLayersCache(work.resolve("base-layers"));
      }
      JibContainer built = image.containerize(to);
      return new ImageTar(file, reference, built.getDigest().toString());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new ImageException("interrupted", e);
    } catch (IOException | ImageException e) {
      throw e;
    } catch (Exception e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      throw new ImageException(
          "the base "
              + base
              + " cannot be used: "
              + cause.getMessage()
              + "; without a network, give --base a tar file (docs/install.md)",
          e);
    }
  }

  private static Map<String, String> labels(StagedImage staged, BaseImage base) {
    String on = base instanceof BaseImage.InRegistry(String reference) ? reference : "";
    return Map.of(
        "org.opencontainers.image.title",
        staged.contents().name(),
        "org.opencontainers.image.description",
        staged.contents().description(),
        "org.opencontainers.image.version",
        staged.version(),
        "org.opencontainers.image.vendor",
        "Perigee",
        "org.opencontainers.image.licenses",
        "Apache-2.0",
        "org.opencontainers.image.base.name",
        on);
  }

  private static void addLayer(
      JibContainerBuilder image, String name, StagedImage staged, String... parts)
      throws IOException {
    FileEntriesLayer.Builder layer = FileEntriesLayer.builder().setName(name);
    for (Path part : staged.existing(parts)) {
      try (Stream<Path> all = Files.walk(part)) {
        for (Path path : all.sorted().toList()) {
          boolean program = Files.isDirectory(path) || Files.isExecutable(path);
          layer.addEntry(
              path,
              AbsoluteUnixPath.get(StagedImage.ROOT).resolve(staged.folder().relativize(path)),
              program ? PROGRAM : FILE,
              StagedImage.TIME);
        }
      }
    }
    image.addFileEntriesLayer(layer.build());
  }
}
