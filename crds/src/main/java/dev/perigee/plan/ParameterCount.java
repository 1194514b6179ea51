package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * Parameters by what they are for.
 *
 * @param byKind numbers of each kind that occurs
 */
public record ParameterCount(Map<WeightShape.Kind, Long> byKind) {

  public ParameterCount {
    Map<WeightShape.Kind, Long> ordered = new EnumMap<>(WeightShape.Kind.class);
    ordered.putAll(byKind);
    byKind = Collections.unmodifiableMap(ordered);
  }

  /** The sum of some weights. */
  public static ParameterCount of(List<WeightShape> shapes) {
    Map<WeightShape.Kind, Long> sums = new EnumMap<>(WeightShape.Kind.class);
    for (WeightShape shape : shapes) {
      if (shape.copies() > 0) {
        sums.merge(shape.kind(), shape.total(), Math::addExact);
      }
    }
    return new ParameterCount(sums);
  }

  /** All of a model. */
  public static ParameterCount total(ModelConfig c) {
    return of(WeightShape.model(c, c.nRoutedExperts()));
  }

  /** What one token uses, embedding and head included. */
  public static ParameterCount active(ModelConfig c) {
    return of(WeightShape.model(c, c.numExpertsPerTok()));
  }

  /** Numbers of one kind. */
  public long of(WeightShape.Kind kind) {
    return byKind.getOrDefault(kind, 0L);
  }

  /** Numbers of all kinds. */
  public long sum() {
    return byKind.values().stream().mapToLong(Long::longValue).sum();
  }
}
