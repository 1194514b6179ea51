package dev.perigee.engine.bench;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.plan.ChromeTrace;
import dev.perigee.plan.Timeline;
import dev.perigee.run.ModelConfig;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class OverlapBenchTest {
  private static final ModelConfig MODEL =
      new ModelConfig(
          48, 32, 64, 24, 3, 1, 2, 24, 16, 8, 4, 8, 8, 2, 1, 1, 1, 1.4, true, 10_000, null, 256,
          1e-6, 0.02, false);

  @TempDir Path folder;

  @Test
  void exchangesRunUnderComputeOnlyWithOverlapAndTheTracesShowIt() throws Exception {
    List<OverlapBench.Result> results =
        OverlapBench.run(
            new OverlapBench.Options(MODEL, null, 32, 8, 2, 3, folder.resolve("overlap")));

    assertThat(results.get(0).exchangeSeconds()).isZero();
    assertThat(results.get(1).exchangeSeconds()).isPositive();
    assertThat(results.get(1).hidden()).isGreaterThan(0).isLessThanOrEqualTo(1);
    Timeline written = ChromeTrace.read(folder.resolve("overlap-on.trace.json"));
    assertThat(written.tracks()).hasSize(4);
    assertThat(written.tracks().getFirst().events())
        .extracting(Timeline.Event::name)
        .contains("dispatch 3 chunk 0 part 1", "combine backward 3 chunk 0 part 0");
  }
}
