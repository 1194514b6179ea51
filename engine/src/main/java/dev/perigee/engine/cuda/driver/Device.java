package dev.perigee.engine.cuda.driver;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdevice_attribute;
import jcuda.driver.CUfunction;
import jcuda.driver.CUfunction_attribute;
import jcuda.driver.CUmodule;
import jcuda.driver.CUresult;
import jcuda.driver.CUuuid;
import jcuda.driver.JCudaDriver;

/**
 * One GPU: its primary context, its streams and its kernels. Opening makes it current on the
 * calling thread; another thread calls {@link #bind} first.
 */
public final class Device implements AutoCloseable {
  private final CUdevice device = new CUdevice();
  private final CUcontext context = new CUcontext();
  private final Map<String, CUmodule> modules = new HashMap<>();
  private final Map<String, CUfunction> functions = new HashMap<>();
  private final Map<String, Integer> sharedBytes = new HashMap<>();
  private final String name;
  private final int multiprocessors;
  private final int computeCapability;
  private final Stream compute;
  private final Stream beside;
  private final Stream communication;
  private final Stream offload;

  /**
   * Opens GPU {@code ordinal}.
   *
   * @throws CudaException when there is none; ask {@link Cuda#whyAbsent} first
   */
  public static Device open(int ordinal) {
    return new Device(ordinal);
  }

  private Device(int ordinal) {
    JCudaDriver.setExceptionsEnabled(false); // check() throws, with more to say
    check(JCudaDriver.cuInit(0), "cuInit", "the driver");
    check(JCudaDriver.cuDeviceGet(device, ordinal), "cuDeviceGet", "device " + ordinal);
    byte[] text = new byte[256];
    check(
        JCudaDriver.cuDeviceGetName(text, text.length, device),
        "cuDeviceGetName",
        "device " + ordinal);
    name = new String(text, StandardCharsets.US_ASCII).replaceAll("\0.*", "");
    multiprocessors = attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    computeCapability =
        10 * attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
            + attribute(CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    check(JCudaDriver.cuDevicePrimaryCtxRetain(context, device), "cuDevicePrimaryCtxRetain", name);
    bind();
    compute = new Stream(this);
    beside = new Stream(this);
    communication = new Stream(this);
    offload = new Stream(this);
  }

  private int attribute(int which) {
    int[] value = new int[1];
    check(
        JCudaDriver.cuDeviceGetAttribute(value, which, device),
        "cuDeviceGetAttribute",
        "attribute " + which);
    return value[0];
  }

  /** Makes this device current on the calling thread. */
  public void bind() {
    check(JCudaDriver.cuCtxSetCurrent(context), "cuCtxSetCurrent", name);
  }

  /** As the driver calls it. */
  public String name() {
    return name;
  }

  /** Number of multiprocessors. */
  public int multiprocessors() {
    return multiprocessors;
  }

  /** Ten times the major version plus the minor: 90 is Hopper. */
  public int computeCapability() {
    return computeCapability;
  }

  /** The stream of the model's own work. */
  public Stream compute() {
    return compute;
  }

  /** A second lane of the model's work, for what can run where the first leaves room. */
  public Stream beside() {
    return beside;
  }

  /** The stream of exchanges between devices. */
  public Stream communication() {
    return communication;
  }

  /** The stream of copies to and from the host. */
  public Stream offload() {
    return offload;
  }

  /** A further stream, which whoever asked for it closes. */
  public Stream stream() {
    return new Stream(this);
  }

  /** A number that tells GPUs of all machines apart, from its UUID; below 2⁵³. */
  public long number() {
    CUuuid uuid = new CUuuid();
    check(JCudaDriver.cuDeviceGetUuid(uuid, device), "cuDeviceGetUuid", name);
    long hash = 0xcbf29ce484222325L; // FNV-1a
    for (byte b : uuid.bytes) {
      hash = (hash ^ (b & 0xFF)) * 0x100000001b3L;
    }
    return hash >>> 11;
  }

  /** A new scope for memory. */
  public DeviceArena arena() {
    return new DeviceArena();
  }

  /** The kernel, with as much dynamic shared memory allowed as it was ever launched with. */
  CUfunction function(Launch launch) {
    CUfunction function =
        functions.computeIfAbsent(
            launch.kernel(),
            kernel -> {
              CUfunction f = new CUfunction();
              check(
                  JCudaDriver.cuModuleGetFunction(f, module(launch.module()), kernel),
                  "cuModuleGetFunction",
                  kernel + " in " + launch.module() + ".cu");
              return f;
            });
    if (launch.sharedBytes() > sharedBytes.getOrDefault(launch.kernel(), 48 << 10)) {
      check(
          JCudaDriver.cuFuncSetAttribute(
              function,
              CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
              launch.sharedBytes()),
          "cuFuncSetAttribute",
          launch);
      sharedBytes.put(launch.kernel(), launch.sharedBytes());
    }
    return function;
  }

  private CUmodule module(String file) {
    return modules.computeIfAbsent(
        file,
        f -> {
          byte[] code =
              Cuda.kernels(f)
                  .orElseThrow(
                      () ->
                          new CudaException(
                              "this build has no kernels of " + f + ".cu; build it with nvcc"));
          CUmodule module = new CUmodule();
          check(
              JCudaDriver.cuModuleLoadData(module, code),
              "cuModuleLoadData",
              f + ".cu, " + code.length + " bytes");
          return module;
        });
  }

  /** Ends the streams and lets the context go. Buffers of open arenas are gone with it. */
  @Override
  public void close() {
    compute.close();
    beside.close();
    communication.close();
    offload.close();
    for (Map.Entry<String, CUmodule> m : modules.entrySet()) {
      check(JCudaDriver.cuModuleUnload(m.getValue()), "cuModuleUnload", m.getKey());
    }
    check(JCudaDriver.cuDevicePrimaryCtxRelease(device), "cuDevicePrimaryCtxRelease", name);
  }

  /** Throws when a driver call failed, naming the call and what it was for. */
  static void check(int rc, String call, Object about) {
    if (rc != 0) {
      String[] error = new String[1];
      String[] meaning = new String[1];
      JCudaDriver.cuGetErrorName(rc, error);
      JCudaDriver.cuGetErrorString(rc, meaning);
      String message = call + ", " + about + ": " + error[0] + ", " + meaning[0];
      throw rc == CUresult.CUDA_ERROR_OUT_OF_MEMORY
          ? new OutOfDeviceMemoryException(message)
          : new CudaException(message);
    }
  }
}
