package dev.perigee.engine.check;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.Shared;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** PyTorch's numbers for three small models with random weights. */
class ModelCheckTest {
  @ParameterizedTest
  @ValueSource(strings = {"hf-plain", "hf-yarn", "hf-groups"})
  void logitsLossGradientsGreedyTokensAndMuonUpdatesAreThoseOfPyTorch(String fixture)
      throws IOException {
    List<CheckRow> rows = ModelCheck.run(Shared.path("fixtures/" + fixture));
    assertThat(rows).hasSizeGreaterThan(50).allMatch(CheckRow::present);
    assertThat(rows).allMatch(CheckRow::passes);
    assertThat(rows.getFirst().name()).isEqualTo("logits");
    assertThat(rows).extracting(CheckRow::name).contains("greedy tokens that differ");
    assertThat(rows).filteredOn(row -> row.name().startsWith("Muon update")).hasSize(16);
  }
}
