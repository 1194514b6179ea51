package dev.perigee.operator.placement;

import dev.perigee.api.PretrainJobStatus;
import dev.perigee.api.SchedulingSpec;
import dev.perigee.api.SchedulingSpec.Adapter;
import java.util.Optional;

/** The choice among the ways to place a gang: a pure function. */
public final class Placements {
  private Placements() {}

  /** What the choice comes to. */
  public sealed interface Choice {
    /** This one. */
    record Chosen(Placement placement) implements Choice {}

    /** None, because what is asked for is not there. */
    record Unavailable(String problem) implements Choice {}
  }

  /**
   * Chooses.
   *
   * @param asked what the manifest asks for
   * @param schedulerName scheduler that the manifest names, null for the cluster's own
   * @param recorded what the status says of a start whose pods are there; it stays with its choice,
   *     whatever is installed or removed meanwhile. Empty for a start that has no pods yet.
   * @param served what the API server serves
   */
  public static Choice choose(
      SchedulingSpec asked,
      String schedulerName,
      Optional<PretrainJobStatus.Scheduling> recorded,
      ServedSchedulers served) {
    if (recorded.isPresent()) {
      return new Choice.Chosen(placement(recorded.get()));
    }
    return switch (asked.adapter()) {
      case None -> new Choice.Chosen(new Unmanaged());
      case Kueue -> kueue(served).orElseGet(() -> unavailable(Adapter.Kueue, KueuePlacement.GROUP));
      case Volcano ->
          volcano(served)
              .orElseGet(() -> unavailable(Adapter.Volcano, VolcanoPlacement.API_VERSION));
      case PodGroup ->
          podGroup(served).orElseGet(() -> unavailable(Adapter.PodGroup, PodGroupPlacement.GROUP));
      case Auto -> automatic(asked, schedulerName, served);
    };
  }

  private static Choice automatic(
      SchedulingSpec asked, String schedulerName, ServedSchedulers served) {
    boolean toVolcano = VolcanoPlacement.SCHEDULER.equals(schedulerName);
    if (asked.queue() != null) {
      return (toVolcano ? volcano(served) : kueue(served))
          .or(() -> volcano(served))
          .orElseGet(
              () ->
                  new Choice.Unavailable(
                      "scheduling.queue: "
                          + asked.queue()
                          + " is a queue of Kueue or Volcano, and the API server serves neither;"
                          + " install one of them, or leave the queue out"));
    }
    if (toVolcano) {
      return volcano(served).orElseGet(() -> new Choice.Chosen(new Unmanaged()));
    }
    // Another scheduler than the cluster's own need not know the PodGroup of Kubernetes.
    return schedulerName == null
        ? podGroup(served).orElseGet(() -> new Choice.Chosen(new Unmanaged()))
        : new Choice.Chosen(new Unmanaged());
  }

  private static Optional<Choice> kueue(ServedSchedulers served) {
    return served.kueue().map(v -> new Choice.Chosen(new KueuePlacement(v)));
  }

  private static Optional<Choice> volcano(ServedSchedulers served) {
    return served.volcano()
        ? Optional.of(new Choice.Chosen(new VolcanoPlacement()))
        : Optional.empty();
  }

  private static Optional<Choice> podGroup(ServedSchedulers served) {
    return served.podGroup().map(v -> new Choice.Chosen(new PodGroupPlacement(v)));
  }

  private static Choice unavailable(Adapter adapter, String api) {
    return new Choice.Unavailable(
        "scheduling.adapter: "
            + adapter
            + " is asked for, but the API server does not serve "
            + api
            + "; install it, or use adapter None or Auto");
  }

  private static Placement placement(PretrainJobStatus.Scheduling recorded) {
    String version =
        recorded.apiVersion() == null
            ? ""
            : recorded.apiVersion().substring(recorded.apiVersion().indexOf('/') + 1);
    return switch (recorded.adapter()) {
      case Kueue -> new KueuePlacement(version);
      case Volcano -> new VolcanoPlacement();
      case PodGroup -> new PodGroupPlacement(version);
      case Auto, None -> new Unmanaged();
    };
  }
}
