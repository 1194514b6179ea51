package dev.perigee.plan;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * What ranks did, or are expected to do, in one optimizer step. A recorded timeline and a simulated
 * one have the same events: their names are those of {@link Step#name}.
 *
 * @param tracks one for each rank, or for each stage where the ranks of a stage do the same
 */
public record Timeline(List<Track> tracks) {

  /** What of a rank is busy. */
  public enum Lane {
    /** It computes. */
    COMPUTE(0, "compute"),
    /** It exchanges tokens with the ranks that share the experts. */
    EXPERTS(1, "experts"),
    /** It sends to a neighbouring stage, or waits for one. */
    PIPELINE(2, "pipeline"),
    /** It copies activations to host memory or back. */
    HOST(3, "host memory");

    private final int number;
    private final String label;

    Lane(int number, String label) {
      this.number = number;
      this.label = label;
    }

    /** Its row in a picture, from 0. */
    public int number() {
      return number;
    }

    /** Lower case, for people. */
    public String label() {
      return label;
    }

    /** The lane of a step. */
    public static Lane of(Step.Action action) {
      return switch (action) {
        case FORWARD, BACKWARD, BACKWARD_INPUT, BACKWARD_WEIGHT -> COMPUTE;
        case DISPATCH, COMBINE, COMBINE_BACKWARD, DISPATCH_BACKWARD -> EXPERTS;
        case SEND_ACTIVATION, RECEIVE_ACTIVATION, SEND_GRADIENT, RECEIVE_GRADIENT -> PIPELINE;
        case OFFLOAD, LOAD -> HOST;
      };
    }
  }

  /**
   * One thing that was done.
   *
   * @param name see {@link Step#name}
   * @param start seconds from the start of the step
   * @param end seconds from the start of the step
   */
  public record Event(String name, Lane lane, double start, double end) {
    /** How long it took, in seconds. */
    public double seconds() {
      return end - start;
    }
  }

  /**
   * The events of one rank.
   *
   * @param name for people, for example {@code stage 3}
   * @param events by their start
   */
  public record Track(String name, List<Event> events) {
    public Track {
      events = events.stream().sorted(Comparator.comparingDouble(Event::start)).toList();
    }

    /** The names of what was computed, in order. */
    public List<String> computed() {
      return events.stream().filter(e -> e.lane == Lane.COMPUTE).map(Event::name).toList();
    }
  }

  public Timeline {
    tracks = List.copyOf(tracks);
  }

  /** Seconds from the first start to the last end. */
  public double span() {
    double first = Double.POSITIVE_INFINITY;
    double last = 0;
    for (Track track : tracks) {
      for (Event event : track.events) {
        first = Math.min(first, event.start);
        last = Math.max(last, event.end);
      }
    }
    return last == 0 ? 0 : last - first;
  }

  /** The same with its first start at 0. */
  public Timeline fromZero() {
    double first =
        tracks.stream()
            .flatMap(track -> track.events.stream())
            .mapToDouble(Event::start)
            .min()
            .orElse(0);
    return new Timeline(
        tracks.stream()
            .map(
                track ->
                    new Track(
                        track.name,
                        track.events.stream()
                            .map(e -> new Event(e.name, e.lane, e.start - first, e.end - first))
                            .toList()))
            .toList());
  }

  /** The share of the ranks' time in which they do not compute, 0 to 1. */
  public double bubbleShare() {
    double span = span();
    return span == 0 ? 0 : 1 - busy(Lane.COMPUTE) / (span * tracks.size());
  }

  /** Seconds that a lane is busy, over all tracks. */
  public double busy(Lane lane) {
    double sum = 0;
    for (Track track : tracks) {
      sum += covered(intervals(track, lane), 0, Double.POSITIVE_INFINITY);
    }
    return sum;
  }

  /**
   * How much of a lane's work is done while the same rank computes, 0 to 1, between two points in
   * time; 1 when the lane does nothing in between.
   *
   * @param from seconds, for each track
   * @param to seconds, for each track
   */
  public double hiddenShare(Lane lane, List<Double> from, List<Double> to) {
    double total = 0;
    double hidden = 0;
    for (int i = 0; i < tracks.size(); i++) {
      List<double[]> compute = intervals(tracks.get(i), Lane.COMPUTE);
      for (double[] work : intervals(tracks.get(i), lane)) {
        double start = Math.max(work[0], from.get(i));
        double end = Math.min(work[1], to.get(i));
        if (end > start) {
          total += end - start;
          hidden += covered(compute, start, end);
        }
      }
    }
    return total == 0 ? 1 : hidden / total;
  }

  /** Busy stretches of a lane, in order and apart from each other. */
  private static List<double[]> intervals(Track track, Lane lane) {
    List<double[]> found = new ArrayList<>();
    for (Event event : track.events) {
      if (event.lane != lane) {
        continue;
      }
      if (!found.isEmpty() && event.start <= found.getLast()[1]) {
        found.getLast()[1] = Math.max(found.getLast()[1], event.end);
      } else {
        found.add(new double[] {event.start, event.end});
      }
    }
    return found;
  }

  private static double covered(List<double[]> intervals, double from, double to) {
    // The first stretch that may reach into the window; those before end earlier.
    int low = 0;
    int high = intervals.size();
    while (low < high) {
      int middle = (low + high) >>> 1;
      if (intervals.get(middle)[1] <= from) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    double sum = 0;
    for (int i = low; i < intervals.size() && intervals.get(i)[0] < to; i++) {
      sum += Math.min(intervals.get(i)[1], to) - Math.max(intervals.get(i)[0], from);
    }
    return sum;
  }

  /** Mean seconds of the events of each lane. */
  public Map<Lane, Double> meanSeconds() {
    Map<Lane, double[]> sums = new EnumMap<>(Lane.class);
    for (Track track : tracks) {
      for (Event event : track.events) {
        double[] sum = sums.computeIfAbsent(event.lane, lane -> new double[2]);
        sum[0] += event.seconds();
        sum[1]++;
      }
    }
    Map<Lane, Double> means = new EnumMap<>(Lane.class);
    sums.forEach((lane, sum) -> means.put(lane, sum[0] / sum[1]));
    return means;
  }
}
