package dev.perigee.engine.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.backend.Gemm;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Models;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.plan.FlopCount;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import org.junit.jupiter.api.Test;

class CpuBenchTest {
  @Test
  void theCountOfOperationsIsThatOfTheProductsThatRun() {
    // At length 1 nothing is masked, so what is needed is what is computed.
    ModelConfig config = Models.tiny();
    MeteredGemm gemm = new MeteredGemm(Gemm.plain());
    Model model = Model.create(config, new CpuBackend(gemm), Collectives.solo());
    model.initialize(1);
    int[] ids = Models.ids(5, config.vocabSize(), 1);
    model.forwardLoss(ids, ids, 5, 1);
    assertThat(flops(gemm)).isEqualTo(5 * FlopCount.model(config, 1).forward());
    gemm.reset();
    model.forwardBackward(ids, ids, 5, 1, 1);
    assertThat(flops(gemm)).isEqualTo(5 * FlopCount.model(config, 1).training());
  }

  private static double flops(MeteredGemm gemm) {
    return gemm.totals().entrySet().stream()
        .mapToDouble(e -> e.getKey().flops() * e.getValue().calls)
        .sum();
  }

  @Test
  void kimiK2NeedsTwoOperationsForEachActiveParameter() {
    ModelConfig kimi = ModelPresets.find("kimi-k2").orElseThrow();
    double matrices = kimi.activeParameters() - (double) kimi.vocabSize() * kimi.hiddenSize();
    assertThat(FlopCount.model(kimi, 1).forward() / 2 / matrices).isCloseTo(1, within(1e-3));
  }

  @Test
  void theReportCoversTheStepAndIsMarkdown() throws Exception {
    CpuReport report = CpuBench.run(new CpuBench.Options("tiny", Models.tiny(), 2, 8, 64, 1, 2));
    assertThat(report.ceiling()).isPositive();
    assertThat(report.products()).isNotEmpty();
    assertThat(report.products().stream().mapToDouble(CpuReport.Product::share).sum())
        .isBetween(0.5, 1.0);
    assertThat(report.optimizerFlops()).isPositive();
    assertThat(report.executedFlops()).isGreaterThan(report.modelFlops() + report.optimizerFlops());
    assertThat(report.productEfficiency()).isPositive();
    assertThat(report.toMarkdown())
        .contains("| Machine: large products on 2 threads |")
        .contains("OpenBLAS alone");
  }
}
