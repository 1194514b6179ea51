package dev.perigee.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;
import picocli.CommandLine.ParameterException;

/** What the pages say to read or to type is there. */
class DocumentationTest {
  private static final Path ROOT = Checkout.root();
  private static final List<String> PLACES = List.of("docs", "helm", "examples");

  private static final Pattern LINK = Pattern.compile("]\\(([^)\\s]+)\\)");
  private static final Pattern ABSOLUTE = Pattern.compile("[a-z]+:.*");

  /** At the start of a line of a block, in backticks, or at the end of a manifest's comment. */
  private static final Pattern COMMAND =
      Pattern.compile("(?:^|`|: |written by )\\./perigee +([^`]+?)(?:`| +#.*| -->|$)");

  private static final Pattern SCRIPT_COMMAND =
      Pattern.compile("^ {2}([a-z]+)\\)", Pattern.MULTILINE);

  private static List<Path> files(String... endings) throws IOException {
    List<Path> files = new ArrayList<>(List.of(ROOT.resolve("README.md")));
    for (String place : PLACES) {
      try (Stream<Path> all = Files.walk(ROOT.resolve(place))) {
        all.filter(p -> Arrays.stream(endings).anyMatch(p.toString()::endsWith))
            .filter(p -> !p.startsWith(ROOT.resolve(place).resolve("target")))
            .forEach(files::add);
      }
    }
    return files;
  }

  private static Stream<String> found(Pattern pattern, String text) {
    return pattern.matcher(text).results().map(m -> m.group(1));
  }

  /** The anchors that GitHub gives to the headings of a page. */
  private static Set<String> anchors(Path page) throws IOException {
    Set<String> anchors = new HashSet<>();
    boolean code = false;
    for (String line : Files.readAllLines(page)) {
      code ^= line.startsWith("```");
      if (!code && line.startsWith("#")) {
        String anchor =
            line.replaceFirst("^#+ +", "")
                .toLowerCase(Locale.ROOT)
                .replaceAll("[^\\p{L}\\p{N} _-]", "")
                .replace(' ', '-');
        for (int i = 1; !anchors.add(i == 1 ? anchor : anchor + "-" + (i - 1)); i++) {}
      }
    }
    return anchors;
  }

  @Test
  void everyLinkLeadsToAFileOrAHeading() throws IOException {
    List<String> broken = new ArrayList<>();
    int links = 0;
    for (Path page : files(".md")) {
      for (String link : found(LINK, Files.readString(page)).toList()) {
        if (ABSOLUTE.matcher(link).matches()) {
          continue;
        }
        links++;
        String[] parts = URLDecoder.decode(link, StandardCharsets.UTF_8).split("#", 2);
        Path target = parts[0].isEmpty() ? page : page.resolveSibling(parts[0]).normalize();
        if (!Files.exists(target) || (parts.length > 1 && !anchors(target).contains(parts[1]))) {
          broken.add(ROOT.relativize(page) + ": " + link);
        }
      }
    }
    assertThat(broken).isEmpty();
    assertThat(links).isGreaterThan(20);
  }

  @Test
  void everyCommandIsOneThatTheProgramTakes() throws IOException {
    Set<String> ofScript =
        new HashSet<>(found(SCRIPT_COMMAND, Files.readString(ROOT.resolve("perigee"))).toList());
    List<String> refused = new ArrayList<>();
    Set<String> seen = new HashSet<>();
    for (Path page : files(".md", ".yaml")) {
      for (String line : Files.readAllLines(page)) {
        Matcher commands = COMMAND.matcher(line);
        while (commands.find()) {
          String command = commands.group(1).strip();
          String[] words = command.split(" +", -1);
          seen.add(words[0]);
          String where = ROOT.relativize(page) + ": ./perigee " + command + ": ";
          Arrays.stream(words)
              .filter(w -> w.startsWith("examples/") && !Files.exists(ROOT.resolve(w)))
              .forEach(w -> refused.add(where + "there is no " + w));
          if (!ofScript.contains(words[0])) {
            try {
              new CommandLine(new Perigee()).parseArgs(words);
            } catch (ParameterException e) {
              refused.add(where + e.getMessage());
            }
          }
        }
      }
    }
    assertThat(refused).isEmpty();
    assertThat(seen).contains("run", "up", "plan", "model", "bench", "images", "test");
  }
}
