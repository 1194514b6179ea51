package dev.perigee.engine.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchPageTest {
  @TempDir Path folder;

  @Test
  void whatPeopleWroteAroundTheFiguresStays() throws IOException {
    Path page = folder.resolve("page.md");
    BenchPage.write(page, "# Title\n\n| old |\n");
    assertThat(page)
        .content()
        .isEqualTo(BenchPage.BEGIN + "\n# Title\n\n| old |\n" + BenchPage.END + "\n");

    Files.writeString(page, "Why.\n\n" + Files.readString(page) + "\n## What it says\n\nMuch.\n");
    BenchPage.check(page);
    BenchPage.write(page, "| new |\n");
    BenchPage.write(page, "| newer |\n");

    assertThat(page)
        .content()
        .isEqualTo(
            "Why.\n\n"
                + BenchPage.BEGIN
                + "\n| newer |\n"
                + BenchPage.END
                + "\n\n## What it says\n\nMuch.\n");
  }

  @Test
  void aTextWithoutAPlaceForTheFiguresIsNotOverwritten() throws IOException {
    Path page = Files.writeString(folder.resolve("page.md"), "# Mine\n");

    assertThatThrownBy(() -> BenchPage.check(page))
        .isInstanceOf(IOException.class)
        .hasMessageContainingAll("has text that would be lost", BenchPage.BEGIN, BenchPage.END);
    assertThatThrownBy(() -> BenchPage.write(page, "new")).isInstanceOf(IOException.class);
    assertThat(page).content().isEqualTo("# Mine\n");

    Files.writeString(page, BenchPage.END + "\n" + BenchPage.BEGIN + "\nthe wrong way round\n");
    assertThatThrownBy(() -> BenchPage.check(page)).hasMessageContaining("would be lost");

    Files.write(page, "gr\u00fcn".getBytes(StandardCharsets.ISO_8859_1));
    assertThatThrownBy(() -> BenchPage.check(page)).hasMessageContaining("is not UTF-8 text");
  }

  @Test
  void aPageThatCannotBeWrittenIsOneLine() {
    assertThatThrownBy(() -> BenchPage.check(folder)).hasMessageContaining("is a folder");
    assertThatThrownBy(() -> BenchPage.check(folder.resolve("no/page.md")))
        .hasMessage("there is no folder " + folder.resolve("no") + " for page.md");
  }

  /** The project's own pages can be written anew. */
  @Test
  void theProjectsPagesHaveAPlaceForTheirFigures() throws IOException {
    Path pages = Path.of("../docs/benchmarks");
    for (String name : List.of("cpu.md", "overlap.md", "gpus.md", "gpus-4.md", "gpu-training.md")) {
      BenchPage.check(pages.resolve(name));
    }
    try (Stream<Path> all = Files.list(pages)) {
      for (Path page : all.filter(p -> p.toString().endsWith(".md")).toList()) {
        String text = Files.readString(page);
        assertThat(text.contains(BenchPage.BEGIN))
            .as("%s", page)
            .isEqualTo(text.contains(BenchPage.END));
      }
    }
  }
}
