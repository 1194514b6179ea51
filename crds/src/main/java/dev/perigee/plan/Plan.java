package dev.perigee.plan;

import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import java.util.ArrayList;
import java.util.List;

/**
 * What a job comes to, before anything runs; and the table of contents of the planner:
 *
 * <pre>
 * WeightShape     every weight of the model      → ParameterCount
 * FlopCount       operations of a token
 * StageWeights    a stage's weights, shared out by Ownership (ZeRO stage 1 with whole matrices)
 * RankMemory      with ActivationCount: bytes of the fullest rank of each stage
 * Traffic         bytes that ranks send each other
 * Timing          ModelCosts in the Simulator: a Timeline of the Schedule
 * LayoutSearch    the best of many layouts; NearestLayouts: those that are close to one that fails
 * </pre>
 *
 * @param layout in a line
 * @param stages the layers of each chunk
 * @param hardware in a line
 * @param ranks over all pods
 * @param pods of the gang
 * @param microBatches of a step on each data-parallel rank
 * @param total all parameters
 * @param active parameters that one token uses
 * @param flops operations forward for each token
 * @param memory of the fullest rank of each stage
 * @param memoryLimit bytes that a rank may use; null when not known
 * @param traffic of the busiest rank
 * @param timing of a step
 * @param checkpoint on its volume
 */
@JsonInclude(JsonInclude.Include.NON_NULL)
public record Plan(
    String layout,
    String stages,
    String hardware,
    int ranks,
    int pods,
    int microBatches,
    ParameterCount total,
    ParameterCount active,
    FlopCount flops,
    List<RankMemory> memory,
    Long memoryLimit,
    Traffic traffic,
    Timing timing,
    Checkpoint checkpoint) {

  /**
   * A checkpoint: float32 weights and the optimizer's state.
   *
   * @param bytes of all files
   * @param seconds when every pod writes its part at {@link Calibration#storageBytesPerSecond}
   */
  public record Checkpoint(double bytes, double seconds) {}

  /**
   * Plans a workload.
   *
   * @throws IllegalArgumentException when the layout has {@link Layout#problems}
   */
  public static Plan of(Workload w, Layout layout, Hardware hardware, Calibration calibration) {
    List<String> problems = new ArrayList<>(layout.problems(w));
    if (!problems.isEmpty()) {
      throw new IllegalArgumentException(String.join("; ", problems));
    }
    ParameterCount total = ParameterCount.total(w.model());
    Traffic traffic = Traffic.of(w, layout, hardware);
    return new Plan(
        layout.toString(),
        layout.stages().toString(),
        hardware.text(),
        layout.mesh().world(),
        layout.mesh().pods(),
        layout.microBatches(w),
        total,
        ParameterCount.active(w.model()),
        FlopCount.model(w.model(), w.sequenceLength()),
        memory(w, layout, hardware),
        hardware.memoryBytes(),
        traffic,
        Timing.of(w, layout, hardware, calibration, traffic),
        checkpoint(w, layout, calibration, total));
  }

  /** Bytes of the fullest rank of each stage. */
  static List<RankMemory> memory(Workload w, Layout layout, Hardware hardware) {
    int most = Timing.simulated(layout.mesh().pipeline(), layout.microBatches(w));
    Schedule schedule = Schedule.of(layout.shape(most), layout.stages().expertLayers(w.model()));
    return RankMemory.of(w, layout, hardware, schedule);
  }

  private static Checkpoint checkpoint(
      Workload w, Layout layout, Calibration calibration, ParameterCount total) {
    double bytes = 0;
    for (WeightShape.Kind kind : total.byKind().keySet()) {
      int state = !kind.trained() ? 0 : kind.muon() && w.newtonSchulzSteps() > 0 ? 4 : 8;
      bytes += (4.0 + state) * total.of(kind);
    }
    double rate = calibration.withDefaults().storageBytesPerSecond() * layout.mesh().pods();
    return new Checkpoint(bytes, bytes / rate);
  }

  /** The fullest rank of all. */
  @JsonProperty
  public RankMemory fullest() {
    return RankMemory.fullest(memory);
  }

  /** Whether the fullest rank has room; true when no limit is known. */
  @JsonProperty
  public boolean fits() {
    return memoryLimit == null || fullest().total() <= memoryLimit;
  }

  /** What a person reads. */
  @JsonIgnore
  public String text() {
    return PlanText.of(this);
  }
}
