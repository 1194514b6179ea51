package dev.perigee.engine.cuda;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.tensor.Tensor;

/** Tensors of a {@link CudaBackend} as those see them who move their numbers between GPUs. */
public final class DeviceTensors {
  private DeviceTensors() {}

  /** Where a tensor's numbers are: float32, or bf16 where its storage says so. */
  public static DeviceBuffer read(Tensor x) {
    return TensorMemory.of(x);
  }

  /** The same for who is about to write all of them. */
  public static DeviceBuffer written(Tensor x) {
    return Work.written(x);
  }

  /** Numbers in bf16 as float32. */
  public static Launch widen(DeviceBuffer bf16, DeviceBuffer float32) {
    return FloatKernels.fromBf16(bf16, float32);
  }

  /** Float32 numbers rounded to bf16. */
  public static Launch round(DeviceBuffer float32, DeviceBuffer bf16) {
    return FloatKernels.toBf16(float32, bf16);
  }
}
