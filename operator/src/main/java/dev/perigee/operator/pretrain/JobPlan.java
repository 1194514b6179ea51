package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import dev.perigee.plan.Hardware;
import dev.perigee.plan.Layout;
import dev.perigee.plan.StepPlan;
import dev.perigee.plan.Workload;
import dev.perigee.run.RunConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * What the planner is asked about a job, in the operator and by hand alike.
 *
 * @param run what the programs would be asked to do
 * @param hardware what the job asks for
 * @param problems why it cannot work, one line each, with what would; empty when it can
 */
public record JobPlan(RunConfig run, Hardware hardware, List<String> problems) {
  public JobPlan {
    problems = List.copyOf(problems);
  }

  /**
   * Of a job as the API server has it, defaults filled in.
   *
   * @param hardware to plan for in place of what the job asks for, or null
   */
  public static JobPlan of(PretrainJob job, Hardware hardware) {
    List<String> problems = new ArrayList<>();
    Hardware used = hardware == null ? JobHardware.of(job.getSpec()) : hardware;
    RunConfig run = RunConfigs.of(job, problems);
    problems.addAll(run.problems());
    problems.addAll(JobHardware.problems(job.getSpec().resources()));
    if (problems.isEmpty()) {
      problems.addAll(StepPlan.problems(run, run.model().config()));
    }
    if (problems.isEmpty()) {
      problems.addAll(JobEstimate.problems(run, used));
    }
    if (!problems.isEmpty()) {
      problems.addAll(JobEstimate.hints(run, used));
    }
    return new JobPlan(run, used, problems);
  }

  /** What is to be trained. */
  public Workload workload() {
    return Workload.of(run);
  }

  /** How it is laid out. */
  public Layout layout() {
    return Layout.of(run);
  }
}
