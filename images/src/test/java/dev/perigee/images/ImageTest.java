package dev.perigee.images;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.jar.JarOutputStream;
import java.util.zip.ZipEntry;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Images of a program of one class: what they hold, and that the same comes out each time. */
class ImageTest {
  private static final ImageContents HELLO =
      new ImageContents(
          "hello",
          "hello-image",
          "hello.Hello",
          "registry.invalid/base:1",
          List.of("java.base"),
          List.of("-XX:TieredStopAtLevel=1", "-Dgreeting=good day"),
          false,
          List.of(8080),
          "Says hello");

  @TempDir Path folder;
  private Path home;

  @BeforeEach
  void buildTheProgram() throws IOException {
    home = folder.resolve("home");
    Path target = home.resolve("hello-image/target");
    Path source = Files.createDirectories(folder.resolve("src/hello")).resolve("Hello.java");
    Files.writeString(
        source,
        """
        package hello;
        class Hello {
          public static void main(String[] arguments) {
            System.out.println(System.getProperty("greeting") + " " + String.join(",", arguments));
          }
        }
        """);
    Path classes = Files.createDirectories(folder.resolve("classes"));
    assertThat(
            ToolProvider.getSystemJavaCompiler()
                .run(null, null, null, "-d", classes.toString(), source.toString()))
        .isZero();
    Files.createDirectories(target.resolve("lib"));
    jar(
        target.resolve("perigee-hello-1.2.3-SNAPSHOT.jar"),
        "hello/Hello.class",
        Files.readAllBytes(classes.resolve("hello/Hello.class")));
    jar(target.resolve("lib/library-1.jar"), "a/B.txt", new byte[] {1});
    jar(target.resolve("lib/blas-1-linux-x86_64.jar"), "org/x/libblas.so.0", new byte[] {2});
    jar(target.resolve("lib/blas-1-linux-arm64.jar"), "org/x/libblas.so.0", new byte[] {3});
    jar(target.resolve("lib/blas-1-macosx-arm64.jar"), "org/x/libblas.dylib", new byte[] {4});
    Files.writeString(target.resolve("bom.json"), "{\"bomFormat\": \"CycloneDX\"}");
  }

  @Test
  void anImageHoldsTheProgramItsRuntimeAndWhatItIsMadeOf() throws Exception {
    Path base = Bases.rootFileSystem(folder.resolve("root.tar"), false);
    ImageTar built = ImagesCommand.build(home, HELLO, base.toString(), folder.resolve("out"));
    assertThat(built.reference()).isEqualTo("hello:1.2.3");
    assertThat(folder.resolve("out/hello.cdx.json")).hasContent("{\"bomFormat\": \"CycloneDX\"}");

    Path root = Files.createDirectory(folder.resolve("unpacked"));
    JsonNode config = Bases.unpack(built.file(), root);
    assertThat(root.resolve("etc/motd")).hasContent("base");
    Path own = root.resolve("opt/perigee");
    assertThat(own.resolve("sbom.cdx.json")).exists();
    assertThat(own.resolve("lib/library-1.jar")).exists();
    assertThat(own.resolve("lib")).isDirectoryNotContaining("glob:**blas*");
    byte platform = (byte) (JavaRuntime.architecture().equals("amd64") ? 2 : 3);
    assertThat(own.resolve("native/libblas.so.0")).hasBinaryContent(new byte[] {platform});
    assertThat(own.resolve("native")).isDirectoryNotContaining("glob:**dylib");

    assertThat(config.at("/config/User").asText()).isEqualTo("65532:65532");
    assertThat(config.at("/config/Env").toString()).contains("\"LANG=C.UTF-8\"");
    assertThat(config.at("/config/Labels/org.opencontainers.image.version").asText())
        .isEqualTo("1.2.3");
    assertThat(config.at("/config/Labels/org.opencontainers.image.licenses").asText())
        .isEqualTo("Apache-2.0");
    assertThat(config.at("/config/ExposedPorts")).hasSize(1);
    assertThat(config.at("/config/Entrypoint"))
        .extracting(JsonNode::asText)
        .containsExactly("/opt/perigee/runtime/bin/java", "@/opt/perigee/options", "hello.Hello");
    assertThat(started(own, "x", "y")).isEqualTo("good day x,y");
  }

  @Test
  void theSameComesOutBitForBit() throws Exception {
    String base = Bases.rootFileSystem(folder.resolve("root.tar"), false).toString();
    ImageTar once = ImagesCommand.build(home, HELLO, base, folder.resolve("once"));
    ImageTar again = ImagesCommand.build(home, HELLO, base, folder.resolve("again"));
    assertThat(again.digest()).isEqualTo(once.digest());
    assertThat(Files.mismatch(again.file(), once.file())).isEqualTo(-1);
  }

  @ParameterizedTest
  @ValueSource(strings = {"root.tar", "root.tar.gz", "oci.tar", "docker.tar"})
  void aBaseMayBeAnyOfThreeKindsOfFile(String name) throws Exception {
    Path base = folder.resolve(name);
    Path work = Files.createDirectory(folder.resolve("work"));
    switch (name) {
      case "oci.tar" -> Bases.oci(base, JavaRuntime.architecture());
      case "docker.tar" ->
          DockerArchive.ofRootFileSystem(
              Bases.rootFileSystem(folder.resolve("x.tar"), false),
              base,
              JavaRuntime.architecture());
      default -> Bases.rootFileSystem(base, name.endsWith(".gz"));
    }
    BaseImage.InArchive archive = (BaseImage.InArchive) BaseImage.of(base.toString(), work);
    Map<String, byte[]> files = Bases.read(archive.file());
    JsonNode manifest = DockerArchive.JSON.readTree(files.get("manifest.json")).path(0);
    JsonNode config = DockerArchive.JSON.readTree(files.get(manifest.path("Config").asText()));
    assertThat(config.path("architecture").asText()).isEqualTo(JavaRuntime.architecture());
    byte[] layer = files.get(manifest.at("/Layers/0").asText());
    assertThat(config.at("/rootfs/diff_ids/0").asText()).isEqualTo("sha256:" + Bases.sha256(layer));
    assertThat(new String(layer, StandardCharsets.UTF_8)).contains("etc/motd");
  }

  @Test
  void aBaseThatIsNoneIsRefusedByName() throws IOException {
    Path work = Files.createDirectory(folder.resolve("work"));
    Path text = Files.writeString(folder.resolve("text.tar"), "not a tar file");
    Path other = folder.resolve("other.tar");
    try (DockerArchive archive = DockerArchive.create(other)) {
      archive.add("readme", new byte[] {1});
    }
    refused(text.toString(), work, "text.tar is ");
    refused(other.toString(), work, "neither an image (manifest.json or index.json)");
    refused(folder.resolve("absent.tar").toString(), work, "there is no file");
    refused("No Such Image", work, "neither scratch, nor a tar file, nor a reference");
    Path foreign = Bases.oci(folder.resolve("foreign.tar"), "riscv64");
    refused(foreign.toString(), work, "holds no image for " + JavaRuntime.architecture());
  }

  @Test
  void whatHasNotBeenBuiltIsSaidToBe() throws IOException {
    Files.delete(home.resolve("hello-image/target/bom.json"));
    assertThatThrownBy(() -> ImagesCommand.build(home, HELLO, "scratch", folder.resolve("out")))
        .isInstanceOf(ImageException.class)
        .hasMessageContaining("./perigee build");
  }

  private static void refused(String base, Path work, String message) {
    assertThatThrownBy(() -> BaseImage.of(base, work))
        .isInstanceOf(ImageException.class)
        .hasMessageContaining(message);
  }

  /** Runs what was unpacked as the image would, but from where it lies. */
  private static String started(Path own, String... arguments) throws Exception {
    Path options = own.resolve("options");
    Files.writeString(options, Files.readString(options).replace(StagedImage.ROOT, own.toString()));
    List<String> command =
        new ArrayList<>(
            List.of(own.resolve("runtime/bin/java").toString(), "@" + options, "hello.Hello"));
    command.addAll(List.of(arguments));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor(30, TimeUnit.SECONDS)).isTrue();
    return said.strip();
  }

  private static void jar(Path file, String entry, byte[] content) throws IOException {
    try (JarOutputStream jar = new JarOutputStream(Files.newOutputStream(file))) {
      ZipEntry zip = new ZipEntry(entry);
      zip.setTime(0);
      jar.putNextEntry(zip);
      jar.write(content);
      jar.closeEntry();
    }
  }
}
