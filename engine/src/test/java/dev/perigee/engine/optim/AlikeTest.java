package dev.perigee.engine.optim;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Models;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

final class AlikeTest {
  private static final RunConfig.Optimizer CONFIG = RunConfig.Optimizer.DEFAULT;

  @Test
  void matricesOfOneShapeThatLieBackToBackAreUpdatedTogether() throws Exception {
    CpuBackend backend = new CpuBackend();
    Model model = Model.create(Models.tiny(), backend, Collectives.solo());
    List<Alike> all;
    try (Fabric fabric = Fabric.local(1)) {
      Fabric.Groups groups = fabric.groups(new Mesh(1, 1, 1, 1), 0);
      Buckets buckets =
          new Buckets(model.parameters(), groups, CONFIG, Optimizer.DEFAULT_BUCKET_BYTES);
      all = Alike.of(model.parameters(), CONFIG, buckets, backend);
    }
    List<Parameter> dealt = new ArrayList<>();
    for (Alike alike : all) {
      dealt.addAll(alike.parameters());
      for (int i = 0; alike.usesMuon() && i < alike.parameters().size(); i++) {
        Parameter p = alike.parameters().get(i);
        Tensor whole = alike.weight_BNM().slice(i, 1);
        assertThat(whole.offset()).as(p.name()).isEqualTo(p.value().offset());
        assertThat(alike.momentum(i).shape()).isEqualTo(p.value().shape());
      }
    }
    assertThat(dealt).isEqualTo(model.parameters());
    int experts = Models.tiny().nRoutedExperts();
    assertThat(all)
        .as("gate and up projections of a layer's experts")
        .anyMatch(alike -> alike.parameters().size() == 2 * experts)
        .as("down projections")
        .anyMatch(alike -> alike.parameters().size() == experts);
    assertThat(all)
        .filteredOn(alike -> !alike.usesMuon())
        .allMatch(alike -> alike.parameters().size() == 1);
  }
}
