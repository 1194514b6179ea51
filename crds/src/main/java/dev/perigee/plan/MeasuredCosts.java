package dev.perigee.plan;

import dev.perigee.plan.Step.Action;
import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Track;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What steps took in a recorded optimizer step. A step that was not recorded takes the median of
 * the same step of other micro-batches; receives are waiting and cost nothing of their own.
 */
public final class MeasuredCosts implements StepCosts {
  private static final Pattern NAME = Pattern.compile("(.+) \\d+ chunk (\\d+) part (\\d+)");

  private static final Set<String> GRADIENTS =
      Set.of(
          Action.BACKWARD.label(), Action.BACKWARD_INPUT.label(), Action.BACKWARD_WEIGHT.label());

  private record Kind(String label, int chunk, int part) {}

  private final Map<String, Double> exact;
  private final Map<Kind, Double> medians;

  private MeasuredCosts(Map<String, Double> exact, Map<Kind, Double> medians) {
    this.exact = exact;
    this.medians = medians;
  }

  /**
   * The costs of a recorded step; of ranks that do the same, the mean.
   *
   * @throws IllegalArgumentException when an event has no name that a schedule gives
   */
  public static MeasuredCosts of(Timeline recorded) {
    Map<String, List<Double>> byName = new HashMap<>();
    Map<Kind, List<Double>> byKind = new HashMap<>();
    for (Track track : recorded.tracks()) {
      for (Event event : track.events()) {
        byName.computeIfAbsent(event.name(), n -> new ArrayList<>()).add(event.seconds());
        byKind.computeIfAbsent(kind(event.name()), k -> new ArrayList<>()).add(event.seconds());
      }
    }
    Map<String, Double> exact = new HashMap<>();
    byName.forEach(
        (name, some) ->
            exact.put(name, some.stream().mapToDouble(Double::doubleValue).average().orElse(0)));
    Map<Kind, Double> medians = new HashMap<>();
    byKind.forEach(
        (kind, some) -> {
          Collections.sort(some);
          medians.put(kind, some.get(some.size() / 2));
        });
    return new MeasuredCosts(exact, medians);
  }

  private static Kind kind(String name) {
    Matcher matcher = NAME.matcher(name);
    if (!matcher.matches()) {
      throw new IllegalArgumentException(
          "an event '" + name + "'; expected names such as 'forward 3 chunk 1 part 0'");
    }
    return new Kind(
        matcher.group(1), Integer.parseInt(matcher.group(2)), Integer.parseInt(matcher.group(3)));
  }

  /** What one micro-batch takes forward and backward through the whole model. */
  public Calibration calibration() {
    double forward = 0;
    double backward = 0;
    for (Map.Entry<Kind, Double> one : medians.entrySet()) {
      String label = one.getKey().label();
      if (label.equals(Action.FORWARD.label())) {
        forward += one.getValue();
      } else if (GRADIENTS.contains(label)) {
        backward += one.getValue();
      }
    }
    return new Calibration(null, null, null, null, null, null, null, null, forward, backward);
  }

  private static Kind kind(Step step) {
    return new Kind(step.action().label(), step.chunk(), step.part());
  }

  @Override
  public double seconds(Step step) {
    if (step.action() == Action.RECEIVE_ACTIVATION || step.action() == Action.RECEIVE_GRADIENT) {
      return 0;
    }
    Double recorded = exact.get(step.name());
    return recorded != null ? recorded : medians.getOrDefault(kind(step), 0.0);
  }
}
