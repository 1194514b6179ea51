package dev.perigee.engine.tensor;

/** Stands for a device's memory: numbers that only copies reach. */
@SuppressWarnings("ArrayRecordComponent") // identity is what is meant
public record DeviceFloatsFake(float[] memory) implements Storage.DeviceFloats {
  @Override
  public int length() {
    return memory.length;
  }

  @Override
  public void read(int from, float[] to, int at, int count) {
    System.arraycopy(memory, from, to, at, count);
  }

  @Override
  public void write(float[] from, int at, int to, int count) {
    System.arraycopy(from, at, memory, to, count);
  }
}
