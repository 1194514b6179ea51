package dev.perigee.images;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Enumeration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Native libraries that jars carry. In an image they lie in a folder of their own, so that nothing
 * is unpacked at each start and the root can be read-only.
 */
final class NativeLibraries {
  private static final Pattern PLATFORM =
      Pattern.compile(".*-((?:linux|macosx|windows|android|ios)-[a-z0-9_]+)\\.jar");
  private static final Pattern LIBRARY = Pattern.compile("(?:.*/)?(lib[^/]+\\.so(?:\\.\\d+)*)");

  /** Variants that Perigee does not load; together larger than the rest. */
  private static final Set<String> UNUSED = Set.of("libjniopenblas.so", "libjniopenblas_full.so");

  /**
   * Names under which other libraries ask for one: JavaCPP would make a link in a folder that it
   * may write to.
   */
  private static final Map<String, String> ASKED_FOR_AS =
      Map.of("libopenblas.so.0", "libopenblas_nolapack.so.0");

  private NativeLibraries() {}

  /** The platform whose native libraries a jar carries, empty for a jar of classes. */
  static Optional<String> platform(Path jar) {
    Matcher matcher = PLATFORM.matcher(jar.getFileName().toString());
    return matcher.matches() ? Optional.of(matcher.group(1)) : Optional.empty();
  }

  /** Unpacks the libraries for an architecture, with the folders of the jars left out. */
  static void unpack(List<Path> jars, String architecture, Path folder) throws IOException {
    Set<String> wanted =
        architecture.equals("amd64") ? Set.of("linux-x86_64") : Set.of("linux-" + architecture);
    Files.createDirectories(folder);
    for (Path jar : jars) {
      if (platform(jar).filter(wanted::contains).isEmpty()) {
        continue;
      }
      try (JarFile file = new JarFile(jar.toFile())) {
        for (Enumeration<JarEntry> all = file.entries(); all.hasMoreElements(); ) {
          JarEntry entry = all.nextElement();
          Matcher matcher = LIBRARY.matcher(entry.getName());
          if (matcher.matches() && !UNUSED.contains(matcher.group(1))) {
            try (InputStream in = file.getInputStream(entry)) {
              String name = matcher.group(1);
              Files.copy(in, folder.resolve(ASKED_FOR_AS.getOrDefault(name, name)));
            }
          }
        }
      }
    }
  }
}
