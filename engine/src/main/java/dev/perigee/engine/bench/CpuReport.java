package dev.perigee.engine.bench;

import java.util.List;
import java.util.Locale;

/**
 * What {@link CpuBench} found. Rates are in GFLOP/s over all ranks together.
 *
 * @param machine what it ran on
 * @param model name of the model's shape
 * @param ranks ranks, each a thread
 * @param sequenceLength tokens of a sequence
 * @param tokensPerStep over all ranks
 * @param ceiling rate of large products, one loop on each thread
 * @param products the model's products, the longest first
 * @param stepSeconds median time of a step
 * @param modelFlops what the model's products need for a step, see {@link
 *     dev.perigee.plan.FlopCount}
 * @param optimizerFlops what the Newton–Schulz products of a step need
 * @param executedFlops what all products of a step did, the optimizer's included
 * @param productSeconds time of a step in products, mean over the ranks
 * @param exchangeSeconds time of a step in the gradients' exchange, of rank 0
 */
public record CpuReport(
    String machine,
    String model,
    int ranks,
    int sequenceLength,
    long tokensPerStep,
    double ceiling,
    List<Product> products,
    double stepSeconds,
    double modelFlops,
    double optimizerFlops,
    double executedFlops,
    double productSeconds,
    double exchangeSeconds) {

  /**
   * Products of similar size.
   *
   * @param shape m × n × k with marks for transposition
   * @param calls in a step, over all ranks
   * @param share of the time in products
   * @param inside rate inside the training step
   * @param own OpenBLAS's rate for the shape in a loop on all threads
   */
  public record Product(String shape, double calls, double share, double inside, double own) {}

  /** Rate inside the model over OpenBLAS's own for the same work: Σ own time / Σ time inside. */
  public double productEfficiency() {
    double ownTime = 0;
    double time = 0;
    for (Product p : products) {
      time += p.share;
      ownTime += p.share * p.inside / p.own;
    }
    return ownTime / time;
  }

  /** Rate of a training step, counting what the model and the optimizer need and nothing else. */
  public double stepRate() {
    return (modelFlops + optimizerFlops) / stepSeconds / 1e9;
  }

  /** {@link #stepRate} over the ceiling. */
  public double stepEfficiency() {
    return stepRate() / ceiling;
  }

  /** The report as Markdown, which reads well as plain text too. */
  public String toMarkdown() {
    StringBuilder text = new StringBuilder();
    line(text, "# The CPU backend against the machine");
    line(text, "");
    line(text, "Written by `./perigee bench cpu` on %s.", machine);
    line(
        text,
        "Model `%s`, %d ranks on threads, %d tokens a step in sequences of %d.",
        model,
        ranks,
        tokensPerStep,
        sequenceLength);
    line(text, "");
    line(text, "| What | GFLOP/s | Share |");
    line(text, "|---|---:|---:|");
    line(text, "| Machine: large products on %d threads | %.1f | 100 %% |", ranks, ceiling);
    line(
        text,
        "| Training step: model (6 × active, allowed pairs) and Muon | %.1f | %.0f %% |",
        stepRate(),
        100 * stepEfficiency());
    share(text, "of it the model alone", modelFlops);
    share(text, "every product that ran (masked pairs too)", executedFlops);
    line(
        text,
        "| Products inside the model against OpenBLAS's own rate for their shapes | | %.0f %% |",
        100 * productEfficiency());
    line(text, "");
    line(
        text,
        "A step takes %.0f ms: %.0f ms in products, %.0f ms in the gradients' exchange; %.0f tokens a second.",
        1e3 * stepSeconds,
        1e3 * productSeconds,
        1e3 * exchangeSeconds,
        tokensPerStep / stepSeconds);
    line(text, "");
    line(
        text,
        "| Product m × n × k | Calls a step | Share of time | Inside | OpenBLAS alone | Ratio |");
    line(text, "|---|---:|---:|---:|---:|---:|");
    for (Product p : products) {
      line(
          text,
          "| %s | %.0f | %.1f %% | %.1f | %.1f | %.0f %% |",
          p.shape,
          p.calls,
          100 * p.share,
          p.inside,
          p.own,
          100 * p.inside / p.own);
    }
    return text.toString();
  }

  private void share(StringBuilder text, String what, double flops) {
    double rate = flops / stepSeconds / 1e9;
    line(text, "| – %s | %.1f | %.0f %% |", what, rate, 100 * rate / ceiling);
  }

  @SuppressWarnings("AnnotateFormatMethod") // the annotation would be a dependency
  private static void line(StringBuilder text, String format, Object... values) {
    text.append(String.format(Locale.ROOT, format, values)).append('\n');
  }
}
