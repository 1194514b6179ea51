package dev.perigee.engine.parallel;

import java.nio.ByteBuffer;

/**
 * What travels between two pods: a header of {@link #HEADER_BYTES} and at most {@link
 * #MAX_PAYLOAD_BYTES} of numbers, little-endian.
 *
 * <pre>
 * bytes  0– 3  magic
 *        4– 7  code of the kind
 *        8–15  group    digest of the group's ranks
 *       16–23  port     which stream of messages within the group
 *       24–27  round    how many operations the group did before this one
 *       28–31  length   of the payload in bytes
 * </pre>
 */
final class Frame {
  static final int HEADER_BYTES = 32;
  static final int MAX_PAYLOAD_BYTES = 128 * 1024;
  private static final int MAGIC = 0x50_47_46_31;

  private Frame() {}

  /** What a frame is for. */
  enum Kind {
    /** Numbers of a collective operation. */
    DATA('D'),
    /** Shows that the sender lives. */
    HEARTBEAT('H'),
    /** The sender has nothing more to do with this peer; its silence from now on is no loss. */
    GOODBYE('G'),
    /** The receiver of a goodbye has read everything before it. */
    GOODBYE_SEEN('S'),
    /** The sender ends with an error; the payload says why, in UTF-8. */
    ABORT('A');

    private final int code;

    Kind(int code) {
      this.code = code;
    }

    private static Kind of(int code) throws MalformedException {
      for (Kind kind : values()) {
        if (kind.code == code) {
          return kind;
        }
      }
      throw new MalformedException("a frame is of the unknown kind " + code);
    }
  }

  /** A stream of messages between two pods in which order matters. */
  record Channel(long group, long port) {}

  /** What stands before the payload. */
  record Header(Kind kind, Channel channel, int round, int length) {
    void write(ByteBuffer to) {
      to.putInt(MAGIC)
          .putInt(kind.code)
          .putLong(channel.group())
          .putLong(channel.port())
          .putInt(round)
          .putInt(length);
    }

    /**
     * Reads {@link #HEADER_BYTES}.
     *
     * @throws MalformedException when they are not a header that this program writes
     */
    static Header read(ByteBuffer from) throws MalformedException {
      int magic = from.getInt();
      int kind = from.getInt();
      Channel channel = new Channel(from.getLong(), from.getLong());
      int round = from.getInt();
      int length = from.getInt();
      if (magic != MAGIC) {
        throw new MalformedException("a frame begins with %08x".formatted(magic));
      }
      if (length < 0 || length > MAX_PAYLOAD_BYTES) {
        throw new MalformedException(
            "a frame claims " + length + " bytes where at most " + MAX_PAYLOAD_BYTES + " may be");
      }
      return new Header(Kind.of(kind), channel, round, length);
    }
  }

  /** Bytes that no peer of this program sends. */
  static final class MalformedException extends java.io.IOException {
    private static final long serialVersionUID = 1L;

    MalformedException(String message) {
      super(message);
    }
  }
}
