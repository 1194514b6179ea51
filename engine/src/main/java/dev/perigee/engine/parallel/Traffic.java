package dev.perigee.engine.parallel;

import dev.perigee.engine.parallel.Frame.Channel;

/** Kinds of traffic within a group, each with its own channels. */
enum Traffic {
  REDUCE(1),
  SCATTER(2),
  FIGURES(3),
  GATHER(4),
  BROADCAST(5),
  COUNTS(6),
  ROWS(7),
  BARRIER(8),
  ROWS_OF_POD(9),
  STREAM(16);

  private final long code;

  Traffic(long code) {
    this.code = code;
  }

  /**
   * A stream of messages.
   *
   * @param from member, or another number that tells streams of this kind apart
   * @param to member, where that matters
   */
  Channel channel(Group group, int from, int to) {
    return new Channel(group.digest, code << 48 | (long) from << 24 | to);
  }
}
