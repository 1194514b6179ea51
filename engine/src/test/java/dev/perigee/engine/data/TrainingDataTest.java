package dev.perigee.engine.data;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrainingDataTest {
  private static final RunConfig.Tokenizer BYTES =
      new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null);

  @TempDir Path root;

  @BeforeEach
  void write() throws Exception {
    Path web = Files.createDirectories(root.resolve("web"));
    Files.writeString(web.resolve("a.txt"), "the first text, ".repeat(9));
    Files.writeString(web.resolve("b.txt"), "the second text, ".repeat(9));
  }

  @Test
  void whatItIsMadeOfIsSaidSoThatAChangeCanBeSeen() throws Exception {
    Map<String, String> before = composition(1, 0.2);
    assertThat(before.keySet())
        .containsExactly("tokenizer", "data[0]", "data[1]", "evaluation.heldOutFraction");
    assertThat(before.get("tokenizer")).isEqualTo("bytes");
    assertThat(before.get("data[0]"))
        .startsWith("web with weight 1.0, 2 files of 297 bytes (digest ");
    assertThat(before.get("data[1]")).isEqualTo("sums with weight 3.0, builtin arithmetic");
    assertThat(composition(1, 0.2)).isEqualTo(before);

    assertThat(composition(2, 0.2).get("data[0]")).startsWith("web with weight 2.0, ");
    assertThat(composition(1, 0.4).get("evaluation.heldOutFraction")).isEqualTo("0.4");
    Files.writeString(root.resolve("web/b.txt"), "the Second text, ".repeat(9));
    assertThat(composition(1, 0.2).get("data[0]")).isNotEqualTo(before.get("data[0]"));
  }

  private Map<String, String> composition(double weight, double heldOut) throws Exception {
    RunConfig config =
        new RunConfig(
            "demo",
            1,
            new RunConfig.Model(null, "model"),
            List.of(
                new RunConfig.DataSource("web", weight, null, "web"),
                new RunConfig.DataSource("sums", 3, "arithmetic", null)),
            BYTES,
            64,
            64,
            Mesh.SINGLE,
            RunConfig.Optimizer.DEFAULT,
            null,
            1,
            null,
            new RunConfig.Evaluation(0, 4, heldOut),
            null);
    return TrainingData.load(config, root).composition();
  }
}
