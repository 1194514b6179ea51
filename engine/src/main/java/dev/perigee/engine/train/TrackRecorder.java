package dev.perigee.engine.train;

import dev.perigee.plan.Step;
import dev.perigee.plan.Timeline;
import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.plan.Timeline.Track;
import java.util.ArrayList;
import java.util.List;

/** Keeps what a rank did, as a track of the same kind as the planner's simulated ones. */
public final class TrackRecorder implements StepRecorder {
  private record Done(Step step, long start, long end) {}

  private final List<Done> done = new ArrayList<>();

  @Override
  public synchronized void done(Step step, long start, long end) {
    done.add(new Done(step, start, end));
  }

  /** When the first step began, in {@link System#nanoTime}. */
  public synchronized long start() {
    return done.stream().mapToLong(Done::start).min().orElse(0);
  }

  /**
   * What was recorded.
   *
   * @param name of the track, for people
   * @param origin {@link System#nanoTime} that times are counted from, the same for all ranks
   */
  public synchronized Track track(String name, long origin) {
    List<Event> events = new ArrayList<>();
    for (Done d : done) {
      events.add(
          new Event(
              d.step.name(),
              Lane.of(d.step.action()),
              (d.start - origin) / 1e9,
              (d.end - origin) / 1e9));
    }
    return new Track(name, events);
  }

  /** One timeline of ranks that were recorded in the same step, named by their number. */
  public static Timeline timeline(List<TrackRecorder> ranks) {
    long origin = ranks.stream().mapToLong(TrackRecorder::start).min().orElse(0);
    List<Track> tracks = new ArrayList<>();
    for (int rank = 0; rank < ranks.size(); rank++) {
      tracks.add(ranks.get(rank).track("rank " + rank, origin));
    }
    return new Timeline(tracks);
  }
}
