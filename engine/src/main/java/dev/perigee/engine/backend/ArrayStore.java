package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;

/** A {@link HostStore} of plain arrays, which are used again, for tensors of any backend. */
final class ArrayStore implements HostStore {
  private record Held(Tensor values) implements Copy {}

  private final Map<Integer, Deque<float[]>> idle = new HashMap<>();
  private long currentBytes;
  private long peakBytes;

  @Override
  public Copy put(Tensor x) {
    Deque<float[]> arrays = idle.get(x.size());
    float[] array = arrays == null || arrays.isEmpty() ? new float[x.size()] : arrays.pop();
    Tensor held = Tensor.of(array, x.size());
    held.assign(x.onHost());
    currentBytes += bytes(x);
    peakBytes = Math.max(peakBytes, currentBytes);
    return new Held(held);
  }

  @Override
  public void bringBack(Copy copy, Tensor x) {
    Tensor held = ((Held) copy).values;
    x.assign(held);
    idle.computeIfAbsent(held.size(), n -> new ArrayDeque<>()).push(held.floats());
    currentBytes -= bytes(x);
  }

  private static long bytes(Tensor x) {
    return (long) Float.BYTES * x.size();
  }

  @Override
  public long currentBytes() {
    return currentBytes;
  }

  @Override
  public long peakBytes() {
    return peakBytes;
  }
}
