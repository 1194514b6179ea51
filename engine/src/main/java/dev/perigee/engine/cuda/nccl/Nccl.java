package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.driver.CudaException;

/**
 * The calls of NVIDIA's collective library that are used here: {@link NcclLibrary}, or in tests a
 * fake. Addresses are the device's, counts are elements, a communicator and a stream are handles.
 * Calls between {@link #groupStart} and {@link #groupEnd} go on together.
 *
 * <p>Every call throws {@link CudaException} when the library refuses it.
 */
interface Nccl {
  /** Bytes of {@code ncclUniqueId}. */
  int ID_BYTES = 128;

  /** {@code ncclDataType_t}. */
  enum Type {
    INT32(2, 4),
    FLOAT32(7, 4),
    FLOAT64(8, 8),
    BF16(9, 2);

    final int code;
    final int bytes;

    Type(int code, int bytes) {
      this.code = code;
      this.bytes = bytes;
    }
  }

  /** {@code ncclRedOp_t}. */
  enum Op {
    SUM(0),
    MAX(2);

    final int code;

    Op(int code) {
      this.code = code;
    }
  }

  /** The library's version, for example 22703 for 2.27.3. */
  int version();

  /** A new name for a group of ranks, which one of them makes and tells the others. */
  byte[] uniqueId();

  /** Joins a group as one of its ranks, on the current device; returns when all have come. */
  long initRank(int ranks, byte[] id, int rank);

  /** What went wrong in work that is under way, in words; null when nothing. */
  String asyncError(long communicator);

  /** Ends work that is under way, and the communicator with it. */
  void abort(long communicator);

  /** Frees a communicator whose work is done. */
  void destroy(long communicator);

  /** The calls until {@link #groupEnd} are one. */
  void groupStart();

  /** Puts in the calls since {@link #groupStart}. */
  void groupEnd();

  /** Sums or the largest, on every rank. */
  void allReduce(
      long send, long receive, long count, Type type, Op op, long communicator, long stream);

  /** Sums or the largest, on one rank. */
  void reduce(
      long send,
      long receive,
      long count,
      Type type,
      Op op,
      int root,
      long communicator,
      long stream);

  /** The same from one rank on all. */
  void broadcast(
      long send, long receive, long count, Type type, int root, long communicator, long stream);

  /** Sums or the largest of {@code count} numbers for each rank, which receives its own. */
  void reduceScatter(
      long send, long receive, long count, Type type, Op op, long communicator, long stream);

  /** The {@code count} numbers of each rank, one rank's after the other's, on every rank. */
  void allGather(long send, long receive, long count, Type type, long communicator, long stream);

  /** Sends to one rank, which receives as much. */
  void send(long from, long count, Type type, int peer, long communicator, long stream);

  /** Receives from one rank, which sends as much. */
  void receive(long to, long count, Type type, int peer, long communicator, long stream);
}
