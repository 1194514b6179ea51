package dev.perigee.images;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.spi.ToolProvider;

/** A Java runtime of few modules, linked from the JDK that this program runs on. */
final class JavaRuntime {
  private JavaRuntime() {}

  /**
   * Links a runtime into a folder that does not exist yet.
   *
   * @throws ImageException when this JDK cannot, or is not one for the images' system
   */
  static void link(List<String> modules, Path folder) throws ImageException {
    String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    if (!system.equals("linux")) {
      throw new ImageException(
          "images hold the JDK's own runtime, and this is one for "
              + system
              + "; build them on Linux, or with the Dockerfile beside each module");
    }
    ToolProvider jlink =
        ToolProvider.findFirst("jlink")
            .orElseThrow(() -> new ImageException("this JDK has no jlink; use a full JDK 25"));
    StringWriter said = new StringWriter();
    PrintWriter out = new PrintWriter(said);
    int code =
        jlink.run(
            out,
            out,
            "--add-modules",
            String.join(",", modules),
            "--no-header-files",
            "--no-man-pages",
            "--output",
            folder.toString());
    out.flush();
    if (code != 0) {
      throw new ImageException("jlink ended with " + code + ": " + said.toString().strip());
    }
  }

  /** The images' architecture, as the OCI names it: that of this machine. */
  static String architecture() {
    String name = System.getProperty("os.arch");
    return switch (name) {
      case "amd64", "x86_64" -> "amd64";
      case "aarch64" -> "arm64";
      default -> name;
    };
  }
}
