package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.cuda.driver.CudaException;
import dev.perigee.engine.cuda.driver.DeviceMemory;
import dev.perigee.engine.cuda.driver.Queue;
import dev.perigee.engine.parallel.Fellowship;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.tensor.Tensor;
import java.time.Duration;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.IntFunction;

/**
 * A rank's place in one communicator of {@link Nccl}, from joining to leaving it.
 *
 * <p>NCCL itself waits for a lost peer for ever. So each operation waits here, until it is done, or
 * NCCL knows of an error, or the {@link Fellowship} has ended, as a pod's connections find out;
 * then the communicator is aborted. A thread that is still inside of a call of NCCL by then is
 * freed by another that aborts.
 */
final class NcclMember implements AutoCloseable {
  private static final long LOOK_AGAIN_NANOS = 20_000;

  /** A small exchange takes less than going to sleep and waking up; large ones leave the core. */
  private static final long SPIN_NANOS = 200_000;

  /** How long a thread may take to see by itself that work together has ended. */
  private static final Duration SEES_BY_ITSELF = Duration.ofSeconds(1);

  /**
   * A device's work in order, as NCCL needs it.
   *
   * @param queue for the operations alone
   * @param tensors where the work on their tensors is queued
   * @param memory for what goes by way of memory that is no tensor's
   * @param zeros makes a tensor on the device
   * @param stream the driver's handle of {@code queue}
   * @param idle whether everything put into {@code queue} is done
   */
  record Line(
      Queue queue,
      Queue tensors,
      DeviceMemory memory,
      IntFunction<Tensor> zeros,
      long stream,
      BooleanSupplier idle) {}

  private final Nccl nccl;
  private final Line line;
  private final long communicator;
  private final Fellowship fellowship;

  /** Why the communicator is gone, once it is; guarded by this. */
  private String gone;

  private NcclMember(Nccl nccl, Line line, long communicator, Fellowship fellowship) {
    this.nccl = nccl;
    this.line = line;
    this.communicator = communicator;
    this.fellowship = fellowship;
    fellowship.whenEnded(why -> Thread.ofVirtual().start(() -> abortIfNobodyDoes(why)));
  }

  /**
   * Joins; returns when all its ranks have come.
   *
   * @param id NCCL's own name for the communicator, as one of the ranks has made it
   * @param fellowship says when work together has ended
   * @throws CudaException when NCCL refuses
   */
  static NcclMember join(
      Nccl nccl, Line line, int ranks, byte[] id, int rank, Fellowship fellowship) {
    line.queue.bind();
    return new NcclMember(nccl, line, nccl.initRank(ranks, id, rank), fellowship);
  }

  /** NCCL's handle. */
  long communicator() {
    return communicator;
  }

  /** Calls of NCCL that go on together. */
  void together(Runnable calls) {
    nccl.groupStart();
    calls.run();
    nccl.groupEnd();
  }

  /**
   * Queues an operation and waits until everything in the line's queue is done.
   *
   * @throws LostPeerException when a peer of it is gone, and from then on
   */
  void operate(Runnable queued) {
    checkHere();
    try {
      line.queue.bind();
      queued.run();
    } catch (CudaException e) {
      fellowship.failure().ifPresent(this::abort); // that is why, or because it was aborted
      checkHere();
      throw e;
    }
    await(line.idle);
  }

  /** Waits for something on the device, as long as the peers are there. */
  void await(BooleanSupplier done) {
    long start = System.nanoTime();
    while (!done.getAsBoolean()) {
      if (System.nanoTime() - start < SPIN_NANOS) {
        Thread.onSpinWait();
        continue;
      }
      String why = whyNotDone();
      if (why != null) {
        abort(why);
      }
      checkHere();
      LockSupport.parkNanos(LOOK_AGAIN_NANOS);
    }
    checkHere(); // an aborted operation looks done
  }

  /** Throws when the communicator is gone. */
  synchronized void checkHere() {
    if (gone != null) {
      throw new LostPeerException(gone);
    }
  }

  private synchronized String whyNotDone() {
    if (gone != null) {
      return gone;
    }
    String error = nccl.asyncError(communicator);
    return error == null ? fellowship.failure().orElse(null) : "NCCL lost a peer: " + error;
  }

  /** Ends what is under way and leaves; it is for this side to say why. */
  synchronized void abort(String why) {
    if (gone == null) {
      gone = why;
      nccl.abort(communicator);
    }
  }

  private void abortIfNobodyDoes(String why) {
    try {
      Thread.sleep(SEES_BY_ITSELF);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    abort(why);
  }

  /** Leaves. */
  @Override
  public synchronized void close() {
    if (gone == null) {
      gone = "this group has been left";
      nccl.destroy(communicator);
    }
  }
}
