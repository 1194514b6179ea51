package dev.perigee.images;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Everything that an image adds to its base, in a folder, as it will lie in {@link #ROOT}:
 *
 * <pre>
 *   runtime/      the linked Java runtime
 *   lib/          the jars that others wrote
 *   native/       native libraries, where there are any
 *   app/          Perigee's own jars
 *   classes.jsa   classes as the JVM holds them, where that is worth it
 *   options       class path and options of the JVM, for java @options
 *   sbom.cdx.json what all this is made of
 * </pre>
 *
 * @param folder the folder
 * @param contents what the image is made of
 * @param version of the project
 */
record StagedImage(Path folder, ImageContents contents, String version) {
  /** Where the folder lies in the image. */
  static final String ROOT = "/opt/perigee";

  /** Name of the archive of classes. */
  static final String CLASS_ARCHIVE = "classes.jsa";

  /**
   * One second after the epoch, as Jib sets it: a JVM compares the times of jars with those in an
   * archive of classes.
   */
  static final Instant TIME = Instant.ofEpochSecond(1);

  /** Gathers what a module's build has left. */
  static StagedImage gather(Built built, ImageContents contents, Path folder)
      throws IOException, ImageException {
    Files.createDirectories(folder);
    StagedImage staged = new StagedImage(folder, contents, built.version());
    JavaRuntime.link(contents.javaModules(), folder.resolve("runtime"));
    Path app = Files.createDirectory(folder.resolve("app"));
    Path lib = Files.createDirectory(folder.resolve("lib"));
    copy(built.own(), app);
    List<Path> natives = new ArrayList<>();
    for (Path jar : built.libraries()) {
      if (NativeLibraries.platform(jar).isPresent()) {
        natives.add(jar);
      } else {
        copy(jar, jar.getFileName().toString().startsWith("perigee-") ? app : lib);
      }
    }
    if (!natives.isEmpty()) {
      NativeLibraries.unpack(natives, JavaRuntime.architecture(), folder.resolve("native"));
    }
    Files.copy(built.billOfMaterials(), folder.resolve("sbom.cdx.json"));
    staged.setTimes();
    if (contents.classArchive()) {
      ClassArchive.write(staged, staged.classPath(), folder.resolve(CLASS_ARCHIVE));
    }
    Files.writeString(folder.resolve("options"), staged.options(), StandardCharsets.UTF_8);
    return staged;
  }

  /** The folder of a layer, or file of it, that exists. */
  List<Path> existing(String... names) {
    return Stream.of(names).map(folder::resolve).filter(Files::exists).toList();
  }

  /** How the image is started. */
  List<String> entrypoint() {
    return List.of(ROOT + "/runtime/bin/java", "@" + ROOT + "/options", contents.mainClass());
  }

  /** An argument file of the java launcher. */
  private String options() throws IOException {
    List<String> lines = new ArrayList<>(contents.jvmOptions());
    if (contents.classArchive()) {
      lines.add("-XX:SharedArchiveFile=" + ROOT + "/" + CLASS_ARCHIVE);
      // Where it was made for, so that its pages stay the file's: 25 MB less of a replica's own.
      lines.add("-XX:+UnlockDiagnosticVMOptions");
      lines.add("-XX:ArchiveRelocationMode=0");
    }
    if (Files.exists(folder.resolve("native"))) {
      lines.add("-Djava.library.path=" + ROOT + "/native");
      // JavaCPP looks there before it unpacks its own.
      lines.add("-Dorg.bytedeco.javacpp.pathsFirst=true");
    }
    lines.add("-cp");
    lines.add(
        classPath().stream()
            .map(jar -> ROOT + "/" + folder.relativize(jar))
            .collect(Collectors.joining(":")));
    return lines.stream().map(line -> '"' + line + "\"\n").collect(Collectors.joining());
  }

  /** The jars in the order in which they are searched, which an archive of classes relies on. */
  private List<Path> classPath() throws IOException {
    List<Path> jars = new ArrayList<>();
    for (Path part : existing("app", "lib")) {
      try (Stream<Path> files = Files.list(part)) {
        files.sorted().forEach(jars::add);
      }
    }
    return jars;
  }

  private void setTimes() throws IOException {
    try (Stream<Path> all = Files.walk(folder)) {
      for (Path path : all.toList()) {
        Files.setLastModifiedTime(path, FileTime.from(TIME));
      }
    }
  }

  private static void copy(Path file, Path folder) throws IOException {
    Files.copy(file, folder.resolve(file.getFileName()));
  }
}
