package dev.perigee.images;

import com.google.cloud.tools.jib.api.ImageReference;
import com.google.cloud.tools.jib.api.InvalidImageReferenceException;
import com.google.cloud.tools.jib.api.Jib;
import com.google.cloud.tools.jib.api.JibContainerBuilder;
import com.google.cloud.tools.jib.api.RegistryImage;
import com.google.cloud.tools.jib.api.TarImage;
import com.google.cloud.tools.jib.api.buildplan.Platform;
import com.google.cloud.tools.jib.frontend.CredentialRetrieverFactory;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.zip.GZIPInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;

/** What an image stands on. */
sealed interface BaseImage {
  /** Nothing: the image must bring its own C library. */
  record Scratch() implements BaseImage {}

  /** An image of a registry, by its reference. */
  record InRegistry(String reference) implements BaseImage {}

  /** An image in a file as {@code docker save} writes it. */
  record InArchive(Path file) implements BaseImage {}

  /**
   * Understands {@code --base}: {@code scratch}; an existing file, which may be an image as {@code
   * docker save} writes it, an OCI archive, or a plain root file system (such as {@code docker
   * export} or debootstrap give), each also compressed with gzip; or else a reference.
   *
   * @param base what was asked for
   * @param work a folder for what has to be rewritten
   * @throws ImageException when it is none of these
   */
  static BaseImage of(String base, Path work) throws IOException, ImageException {
    if (base.equals("scratch")) {
      return new Scratch();
    }
    Path file = Path.of(base);
    if (Files.isRegularFile(file)) {
      return archive(file, work);
    }
    if (base.endsWith(".tar") || base.endsWith(".gz") || base.startsWith("/")) {
      throw new ImageException("--base: there is no file " + base);
    }
    try {
      ImageReference.parse(base);
    } catch (InvalidImageReferenceException e) {
      throw new ImageException(
          "--base: "
              + base
              + " is neither scratch, nor a tar file, nor a reference such as"
              + " registry.example/image:tag",
          e);
    }
    return new InRegistry(base);
  }

  /** A build on this base. */
  default JibContainerBuilder from(String architecture) throws ImageException {
    try {
      return switch (this) {
        case Scratch() -> Jib.fromScratch().setPlatforms(platform(architecture));
        case InArchive(Path file) -> Jib.from(TarImage.at(file));
        case InRegistry(String reference) -> {
          ImageReference parsed = ImageReference.parse(reference);
          CredentialRetrieverFactory credentials =
              CredentialRetrieverFactory.forImage(parsed, event -> {});
          yield Jib.from(
                  RegistryImage.named(parsed).addCredentialRetriever(credentials.dockerConfig()))
              .setPlatforms(platform(architecture));
        }
      };
    } catch (InvalidImageReferenceException e) {
      throw new ImageException("--base: " + e.getMessage(), e);
    }
  }

  private static Set<Platform> platform(String architecture) {
    return Set.of(new Platform(architecture, "linux"));
  }

  private static BaseImage archive(Path file, Path work) throws IOException, ImageException {
    Set<String> names = new LinkedHashSet<>();
    try (TarArchiveInputStream in = open(file)) {
      for (TarArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
        names.add(e.getName().replaceFirst("^\\./", ""));
      }
    } catch (IOException e) {
      throw new ImageException("--base: " + file + " is not a tar file: " + e.getMessage(), e);
    }
    if (names.contains("manifest.json")) {
      return new InArchive(file);
    }
    Path rewritten = work.resolve("base.tar");
    if (names.contains("index.json")) {
      OciArchive.toDockerArchive(file, rewritten);
      return new InArchive(rewritten);
    }
    if (names.stream().anyMatch(n -> n.matches("(lib|lib64|usr|etc|bin)(/.*)?"))) {
      DockerArchive.ofRootFileSystem(file, rewritten, JavaRuntime.architecture());
      return new InArchive(rewritten);
    }
    throw new ImageException(
        "--base: "
            + file
            + " is neither an image (manifest.json or index.json) nor a root file system (lib,"
            + " usr, etc); it holds "
            + names.stream().limit(5).toList());
  }

  /** A tar file's entries, whether it is compressed with gzip or not. */
  static TarArchiveInputStream open(Path file) throws IOException {
    return new TarArchiveInputStream(decompressed(file));
  }

  /** A file's content, decompressed when it is compressed with gzip. */
  static InputStream decompressed(Path file) throws IOException {
    InputStream in = new BufferedInputStream(Files.newInputStream(file));
    in.mark(2);
    boolean gzip = in.read() == 0x1f && in.read() == 0x8b;
    in.reset();
    return gzip ? new GZIPInputStream(in) : in;
  }
}
