package dev.perigee.images;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/**
 * Builds the images. Exit codes: 0 when all went well, 1 when something failed, 2 when it was not
 * understood.
 */
@Command(
    name = "perigee images",
    description = {
      "Build the container images to tar files, without a container engine.",
      "A base that is a tar file needs no network either."
    },
    mixinStandardHelpOptions = true)
public final class ImagesCommand implements Callable<Integer> {
  @Parameters(
      paramLabel = "IMAGE",
      arity = "0..*",
      description = "perigee-operator, perigee-trainer; both when none is named.")
  private List<String> names = new ArrayList<>();

  @Option(
      names = "--base",
      paramLabel = "BASE",
      description = {
        "What to build on: a reference, scratch, or a tar file (docker save, OCI archive, or a"
            + " root",
        "file system). When absent, a public image for each."
      })
  private String base;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      description = "Where the tar files go (default: ${DEFAULT-VALUE}).")
  private Path out = Path.of("images/target/tars");

  /** Runs and exits. */
  public static void main(String[] args) {
    System.exit(new CommandLine(new ImagesCommand()).execute(args));
  }

  @Override
  public Integer call() throws IOException {
    Path home = Path.of(System.getProperty("perigee.home", "")).toAbsolutePath();
    try {
      for (ImageContents contents : chosen()) {
        long started = System.nanoTime();
        ImageTar tar = build(home, contents, base, out);
        System.out.printf(
            "%s  %s  %s  %d MB  %.1f s%n",
            tar.reference(),
            tar.file(),
            tar.digest(),
            Files.size(tar.file()) / 1_000_000,
            (System.nanoTime() - started) / 1e9);
      }
      return 0;
    } catch (ImageException e) {
      System.err.println("perigee: " + e.getMessage());
      return 1;
    }
  }

  private List<ImageContents> chosen() throws ImageException {
    List<String> known = ImageContents.ALL.stream().map(ImageContents::name).toList();
    for (String name : names) {
      if (!known.contains(name)) {
        throw new ImageException("there is no image " + name + "; there are " + known);
      }
    }
    return ImageContents.ALL.stream()
        .filter(c -> names.isEmpty() || names.contains(c.name()))
        .toList();
  }

  /** Builds one image, with its bill of materials beside it. */
  static ImageTar build(Path home, ImageContents contents, String base, Path out)
      throws IOException, ImageException {
    Files.createDirectories(out);
    try (Workplace workplace = Workplace.open()) {
      Path work = workplace.folder();
      BaseImage on = BaseImage.of(base == null ? contents.defaultBase() : base, work);
      StagedImage staged =
          StagedImage.gather(Built.of(home, contents), contents, work.resolve("stage"));
      ImageTar tar = ImageTar.write(staged, on, out, work);
      Files.write(
          out.resolve(contents.name() + ".cdx.json"),
          Files.readAllBytes(staged.folder().resolve("sbom.cdx.json")));
      return tar;
    }
  }
}
