package dev.perigee.engine.cuda.kernels;

import dev.perigee.engine.cuda.driver.Launch;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** What the kernels' sources say of their parameters, for comparison with launches. */
public final class KernelSources {
  private static final Pattern MACRO =
      Pattern.compile("#define (\\w+)\\(([^)]*)\\)((?:[^\\n]*\\\\\\n)+[^\\n]*\\n)");
  private static final Pattern KERNEL =
      Pattern.compile(
          "extern \"C\" __global__ void\\s+(?:__cluster_dims__\\([^)]*\\)\\s*)?"
              + "(?:__launch_bounds__\\(([^)]*)\\)\\s*)?(\\w+)\\(([^)]*)\\)");

  /** Kinds of arguments by {@code file/kernel}. */
  private final Map<String, List<Class<?>>> kernels = new HashMap<>();

  /** Reads all of {@code src/main/cuda}. */
  public KernelSources() throws IOException {
    try (Stream<Path> files = Files.list(Path.of("src", "main", "cuda"))) {
      for (Path file : files.filter(f -> f.toString().endsWith(".cu")).toList()) {
        read(file.getFileName().toString().replace(".cu", ""), Files.readString(file));
      }
    }
  }

  private void read(String module, String source) {
    Matcher kernel = KERNEL.matcher(expanded(source));
    while (kernel.find()) {
      List<Class<?>> kinds = new ArrayList<>();
      for (String parameter : kernel.group(3).split(",", -1)) {
        kinds.add(kind(parameter.strip()));
      }
      kernels.put(module + "/" + kernel.group(2), kinds);
    }
  }

  /** With the uses of macros that define kernels replaced by what they stand for. */
  private static String expanded(String source) {
    StringBuilder expanded = new StringBuilder(MACRO.matcher(source).replaceAll(""));
    Matcher macro = MACRO.matcher(source);
    while (macro.find()) {
      String[] names = macro.group(2).split(",", -1);
      Matcher use = Pattern.compile("(?m)^" + macro.group(1) + "\\((.*)\\)$").matcher(source);
      while (use.find()) {
        String[] values = use.group(1).split(",(?![^()]*\\))", -1);
        String body = macro.group(3).replace("\\\n", "\n");
        for (int i = 0; i < names.length; i++) {
          body =
              body.replaceAll(
                  "\\b" + names[i].strip() + "\\b", Matcher.quoteReplacement(values[i].strip()));
        }
        expanded.append(body.replaceAll("\\s*##\\s*", ""));
      }
    }
    return expanded.toString();
  }

  private static Class<?> kind(String parameter) {
    if (parameter.startsWith("Tickets*")) {
      return Launch.Argument.Tickets.class;
    }
    if (parameter.contains("*")) {
      return Launch.Argument.Address.class;
    }
    if (parameter.contains("TensorMap")) {
      return Launch.Argument.Map.class;
    }
    return switch (parameter.substring(0, parameter.lastIndexOf(' ')).replace("const ", "")) {
      case "int" -> Launch.Argument.Int32.class;
      case "long" -> Launch.Argument.Int64.class;
      case "float" -> Launch.Argument.Float32.class;
      default ->
          throw new IllegalStateException("a kernel's parameter of no known kind: " + parameter);
    };
  }

  /** What the kernel of that file takes, in order; null when there is none. */
  public List<Class<?>> arguments(String module, String kernel) {
    return kernels.get(module + "/" + kernel);
  }

  /** Names of all kernels, {@code file/kernel}. */
  public List<String> names() {
    return List.copyOf(kernels.keySet());
  }
}
