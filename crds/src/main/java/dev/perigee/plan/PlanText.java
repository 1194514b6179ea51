package dev.perigee.plan;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/** A {@link Plan} for a terminal. */
final class PlanText {
  /** More stages than this are shown as the fullest, the first and the last. */
  private static final int MOST_STAGES = 16;

  private final Plan plan;
  private final StringBuilder text = new StringBuilder();

  private PlanText(Plan plan) {
    this.plan = plan;
  }

  static String of(Plan plan) {
    return new PlanText(plan).text();
  }

  private String text() {
    line("model", parameters(plan.total()));
    line("", "by kind: " + kinds(plan.total()));
    line("active", parameters(plan.active()) + " for a token, embedding and head included");
    FlopCount f = plan.flops();
    line(
        "operations",
        "%s forward and %s backward for a token; %s of attention's core, %s of experts"
            .formatted(
                Figures.flops(f.forward()),
                Figures.flops(f.backward()),
                Figures.percent(f.core() / f.forward()),
                Figures.percent(f.routed() / f.forward())));
    line("layout", plan.layout() + ": " + plan.ranks() + " ranks in " + plan.pods() + " pods");
    line("", plan.microBatches() + " micro-batches a step; chunks: " + plan.stages());
    line("hardware", plan.hardware());
    text.append('\n');
    memory();
    text.append('\n');
    traffic();
    timing();
    line(
        "checkpoint",
        "%s, %s to write"
            .formatted(
                Figures.bytes(plan.checkpoint().bytes()),
                Figures.seconds(plan.checkpoint().seconds())));
    return text.toString();
  }

  private void line(String name, String value) {
    text.append("%-12s%s%n".formatted(name, value));
  }

  private static String parameters(ParameterCount count) {
    return String.format(
        Locale.ROOT, "%s parameters (%,d)", Figures.count(count.sum()), count.sum());
  }

  private static String kinds(ParameterCount count) {
    return count.byKind().entrySet().stream()
        .map(
            (Map.Entry<WeightShape.Kind, Long> e) ->
                e.getKey().label() + " " + Figures.count(e.getValue()))
        .collect(Collectors.joining(", "));
  }

  private void memory() {
    String row = "%-12s%11s%11s%11s%12s%11s%11s%n";
    text.append(
        row.formatted(
            "memory", "parameters", "gradients", "optimizer", "activations", "buffers", "all"));
    for (RankMemory m : shown()) {
      text.append(
          row.formatted(
              "stage " + m.stage(),
              Figures.bytes(m.parameters()),
              Figures.bytes(m.gradients()),
              Figures.bytes(m.optimizer()),
              Figures.bytes(m.activations()),
              Figures.bytes(m.buffers()),
              Figures.bytes(m.total())));
    }
    RankMemory m = plan.fullest();
    line(
        "",
        "fullest: a rank of stage %d; parameters and gradients %s"
            .formatted(m.stage(), Figures.bytes(m.parameters() + m.gradients())));
    if (plan.memoryLimit() != null) {
      long room = plan.memoryLimit() - m.total();
      line(
          "",
          room >= 0
              ? "fits into %s with %s to spare"
                  .formatted(Figures.bytes(plan.memoryLimit()), Figures.bytes(room))
              : "does NOT fit into %s: %s too much"
                  .formatted(Figures.bytes(plan.memoryLimit()), Figures.bytes(-room)));
    }
  }

  private List<RankMemory> shown() {
    List<RankMemory> all = plan.memory();
    if (all.size() <= MOST_STAGES) {
      return all;
    }
    List<RankMemory> some = new ArrayList<>(List.of(all.getFirst()));
    RankMemory fullest = plan.fullest();
    if (fullest.stage() > 0 && fullest.stage() < all.size() - 1) {
      some.add(fullest);
    }
    some.add(all.getLast());
    return some;
  }

  private void traffic() {
    Traffic t = plan.traffic();
    if (t.exchanges() > 0) {
      line(
          "experts",
          "%,d exchanges of %s a step and rank (%s between nodes), %s in all; %s hidden in steady state"
              .formatted(
                  t.exchanges(),
                  Figures.bytes(t.exchange().bytes()),
                  Figures.bytes(t.exchange().networkBytes()),
                  Figures.bytes(t.exchange().bytes() * t.exchanges()),
                  Figures.percent(plan.timing().expertsHidden())));
    }
    if (t.pipelineBytes() > 0) {
      line("pipeline", Figures.bytes(t.pipelineBytes()) + " a step and rank between stages");
    }
    if (t.gradientBytes() > 0) {
      line(
          "update",
          "%s of gradients and %s of weights a step and rank"
              .formatted(Figures.bytes(t.gradientBytes()), Figures.bytes(t.weightBytes())));
    }
  }

  private void timing() {
    Timing timing = plan.timing();
    line("bubble", Figures.percent(timing.bubbleShare()) + " of the ranks' time in a step");
    Timing.Seconds s = timing.seconds();
    if (s == null) {
      line("step", "unknown: the speed of the ranks is not known (--gpu, --calibrate)");
      return;
    }
    line(
        "step",
        "%s: %s forwards and backwards (%s exposed by experts, %s by stages), %s update"
            .formatted(
                Figures.seconds(s.step()),
                Figures.seconds(s.pipeline()),
                Figures.seconds(s.exposedExperts()),
                Figures.seconds(s.exposedPipeline()),
                Figures.seconds(s.update())));
    line(
        "",
        "%s tokens/s%s"
            .formatted(
                Figures.count(s.tokensPerSecond()),
                s.modelFlopsUtilization() == null
                    ? ""
                    : ", MFU " + Figures.percent(s.modelFlopsUtilization())));
  }
}
