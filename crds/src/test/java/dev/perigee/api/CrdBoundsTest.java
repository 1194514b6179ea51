package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The API server refuses what the programs would refuse after pods were made for it. */
class CrdBoundsTest {
  @Test
  void noMoreHeldOutProblemsAreAcceptedThanCanBeAsked() throws IOException {
    assertThat(
            new YAMLMapper()
                .readTree(Path.of("yaml", "pretrainjobs.perigee.dev.yaml").toFile())
                .at("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties")
                .at("/evaluation/properties/problems/maximum")
                .asInt())
        .isEqualTo(RunConfig.Evaluation.MOST_PROBLEMS);
  }
}
