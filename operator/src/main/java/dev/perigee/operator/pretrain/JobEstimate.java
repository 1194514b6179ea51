package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.PretrainJobStatus.Estimate;
import dev.perigee.plan.Calibration;
import dev.perigee.plan.Figures;
import dev.perigee.plan.Hardware;
import dev.perigee.plan.Layout;
import dev.perigee.plan.NearestLayouts;
import dev.perigee.plan.Plan;
import dev.perigee.plan.RankMemory;
import dev.perigee.plan.Timing;
import dev.perigee.plan.Traffic;
import dev.perigee.plan.Workload;
import dev.perigee.run.RunConfig;
import java.util.List;
import java.util.Locale;
import java.util.Objects;

/** What the planner says of a job. A model whose shape only its folder knows is not planned. */
final class JobEstimate {
  private JobEstimate() {}

  /** Why a run cannot fit where it wants to go, one line each; empty when it can. */
  static List<String> problems(RunConfig run, Hardware hardware) {
    return run.model().config() == null
        ? List.of()
        : NearestLayouts.tooLarge(Workload.of(run), Layout.of(run), hardware);
  }

  /** Layouts that would work, for one that does not. */
  static List<String> hints(RunConfig run, Hardware hardware) {
    return NearestLayouts.hints(
        Workload.of(run), run.mesh(), run.pipeline().virtualStages(), hardware);
  }

  /**
   * The estimate for the status; the one that stands there when it is of the same specification.
   */
  static Estimate of(PretrainJob job, RunConfig run) {
    if (run.model().config() == null) {
      return null;
    }
    PretrainJobStatus old = job.getStatus();
    if (old != null
        && old.layout() != null
        && old.layout().estimate() != null
        && Objects.equals(old.observedGeneration(), job.getMetadata().getGeneration())) {
      return old.layout().estimate();
    }
    Hardware hardware = JobHardware.of(job.getSpec());
    Plan plan = Plan.of(Workload.of(run), Layout.of(run), hardware, Calibration.DEFAULT);
    RankMemory memory = plan.fullest();
    Timing.Seconds seconds = plan.timing().seconds();
    return new Estimate(
        Figures.bytes(memory.total()),
        new PretrainJobStatus.Memory(
            memory.parameters(),
            memory.gradients(),
            memory.optimizer(),
            memory.activations(),
            memory.buffers()),
        plan.memoryLimit(),
        plan.fits()
            ? null
            : "more than the %s of a rank".formatted(Figures.bytes(plan.memoryLimit())),
        rounded(plan.flops().forward()),
        rounded(plan.timing().bubbleShare()),
        seconds == null ? null : rounded(seconds.step()),
        seconds == null || seconds.modelFlopsUtilization() == null
            ? null
            : rounded(seconds.modelFlopsUtilization()),
        traffic(plan),
        rounded(plan.checkpoint().bytes()),
        rounded(plan.checkpoint().seconds()));
  }

  private static PretrainJobStatus.Traffic traffic(Plan plan) {
    Traffic traffic = plan.traffic();
    double experts = traffic.exchange().bytes() * traffic.exchanges();
    return new PretrainJobStatus.Traffic(
        rounded(experts),
        experts == 0 ? null : rounded(plan.timing().expertsHidden()),
        rounded(traffic.pipelineBytes()),
        rounded(traffic.gradientBytes() + traffic.weightBytes()));
  }

  private static Double rounded(double value) {
    return Double.valueOf(String.format(Locale.ROOT, "%.2e", value));
  }
}
