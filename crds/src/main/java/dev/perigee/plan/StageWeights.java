package dev.perigee.plan;

import dev.perigee.run.Mesh;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * The weights of one rank of a stage, and how ZeRO shares them out.
 *
 * @param dense trained numbers that all data-parallel ranks of the stage hold
 * @param experts numbers of the rank's own routed experts
 * @param untrained numbers that no gradient trains
 * @param largest numbers of the largest weight
 * @param fullestShare the part of the optimizer of the rank that has most of it
 * @param slowestFlops operations of the orthogonalisations of the rank that has most of them
 */
record StageWeights(
    long dense,
    long experts,
    long untrained,
    long largest,
    Ownership.Share fullestShare,
    double slowestFlops) {

  static StageWeights of(Workload w, Layout layout, Hardware.Precision precision, int stage) {
    Mesh mesh = layout.mesh();
    StageLayout stages = layout.stages();
    int localExperts = w.model().nRoutedExperts() / mesh.expert();
    List<WeightShape> dense = new ArrayList<>();
    List<WeightShape> experts = new ArrayList<>();
    long untrained = 0;
    for (int chunk = stage; chunk < stages.chunks(); chunk += mesh.pipeline()) {
      if (chunk == 0) {
        dense.add(WeightShape.embedding(w.model()));
      }
      for (int i = 0; i < stages.layers().get(chunk); i++) {
        int layer = stages.firstLayer(chunk) + i;
        for (WeightShape shape : WeightShape.layer(w.model(), layer, localExperts)) {
          if (!shape.kind().trained()) {
            untrained += shape.total();
          } else {
            (shape.kind() == WeightShape.Kind.ROUTED_EXPERT ? experts : dense).add(shape);
          }
        }
      }
      if (chunk == stages.chunks() - 1) {
        dense.addAll(WeightShape.end(w.model()));
      }
    }
    List<Ownership.Share> ofDense = Ownership.shares(dense, mesh.data(), w.newtonSchulzSteps());
    List<Ownership.Share> ofExperts =
        Ownership.shares(experts, mesh.replicas(), w.newtonSchulzSteps());
    Ownership.Share fullest = Ownership.Share.NONE;
    double slowest = 0;
    for (int rank = 0; rank < mesh.data(); rank++) {
      Ownership.Share own = ofDense.get(rank).plus(ofExperts.get(rank / mesh.expert()));
      fullest = own.bytes(precision) > fullest.bytes(precision) ? own : fullest;
      slowest = Math.max(slowest, own.newtonSchulzFlops());
    }
    long largest =
        Stream.of(dense, experts)
            .flatMap(List::stream)
            .mapToLong(WeightShape::size)
            .max()
            .orElse(0);
    return new StageWeights(sum(dense), sum(experts), untrained, largest, fullest, slowest);
  }

  private static long sum(List<WeightShape> shapes) {
    return shapes.stream().mapToLong(WeightShape::total).sum();
  }
}
