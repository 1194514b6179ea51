package dev.perigee.engine.cuda;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Routine;
import java.util.List;

/**
 * Work that is done as it is asked for the first time, which brings every kernel and all memory to
 * where it is needed; recorded the second time; and replayed with one call from then on. Replaying
 * costs the host the same, however many kernels there are.
 *
 * <p>A recording holds addresses. They are right as long as the arena has the same memory handed
 * out when the work begins as it had then, so this is looked at each time; when it is otherwise,
 * the work is recorded anew. Work that needs the host is never recorded.
 */
final class CudaRoutine implements Routine {
  private final Queue queue;
  private final Staging staging;
  private final TensorMemory memory;
  private final Arena arena;
  private final Runnable work;
  private Queue.Recording recording; // null while there is none
  private long inUse;
  private List<TensorMemory.Numbers> changed = List.of();
  private boolean warm;
  private boolean needsHost;

  CudaRoutine(Queue queue, Staging staging, TensorMemory memory, Arena arena, Runnable work) {
    this.queue = queue;
    this.staging = staging;
    this.memory = memory;
    this.arena = arena;
    this.work = work;
  }

  @Override
  public void run() {
    if (needsHost || !warm) {
      work.run();
      warm = true;
      return;
    }
    if (recording == null || inUse != arena.inUse()) {
      close();
      if (!record()) {
        needsHost = true;
        work.run();
        return;
      }
    }
    // Recorded work takes rounded weights for fresh: none were stale when it was recorded.
    memory.refreshRounded();
    queue.replay(recording);
    changed.forEach(TensorMemory.Numbers::changed);
  }

  /** Records the work; returns false when it cannot be. */
  private boolean record() {
    memory.refreshRounded();
    inUse = arena.inUse();
    staging.recording(true);
    try {
      changed = memory.changedBy(() -> recording = queue.capture(work));
      return true;
    } catch (NotRecordableException e) {
      return false;
    } finally {
      staging.recording(false);
    }
  }

  @Override
  public void close() {
    if (recording != null) {
      queue.synchronize(); // it may be under way
      recording.close();
      recording = null;
    }
  }
}
