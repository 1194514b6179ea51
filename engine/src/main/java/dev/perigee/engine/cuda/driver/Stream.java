package dev.perigee.engine.cuda.driver;

import static dev.perigee.engine.cuda.driver.Device.check;

import java.nio.ByteBuffer;
import jcuda.NativePointerObject;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUgraph;
import jcuda.driver.CUgraphExec;
import jcuda.driver.CUresult;
import jcuda.driver.CUstream;
import jcuda.driver.CUstreamCaptureMode;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;

/** A queue of device work: what is put in runs in order, beside other streams and the host. */
public final class Stream implements Queue, AutoCloseable {
  private final Device device;
  private final Handle stream = new Handle();
  private final CUdeviceptr tickets = new CUdeviceptr();

  /** Gives access to the pointer that JCuda keeps to itself. */
  private static final class Handle extends CUstream {
    long address() {
      return getNativePointer();
    }
  }

  Stream(Device device) {
    this.device = device;
    check(
        JCudaDriver.cuStreamCreate(stream, CUstream_flags.CU_STREAM_NON_BLOCKING),
        "cuStreamCreate",
        device.name());
    check(JCudaDriver.cuMemAlloc(tickets, Integer.BYTES), "cuMemAlloc", "a stream's tickets");
    check(JCudaDriver.cuMemsetD32(tickets, 0, 1), "cuMemsetD32", "a stream's tickets");
  }

  /** A point in a stream's order. */
  public static final class Event implements Queue.Mark {
    private final CUevent event = new CUevent();

    private Event() {
      check(
          JCudaDriver.cuEventCreate(event, CUevent_flags.CU_EVENT_DEFAULT),
          "cuEventCreate",
          "an event");
    }

    /** Milliseconds on the device from this event to {@code end}, once both have passed. */
    public float millisecondsTo(Event end) {
      float[] ms = new float[1];
      check(
          JCudaDriver.cuEventSynchronize(end.event), "cuEventSynchronize", "work before the event");
      check(
          JCudaDriver.cuEventElapsedTime(ms, event, end.event), "cuEventElapsedTime", "two events");
      return ms[0];
    }

    @Override
    public boolean isPast() {
      int rc = JCudaDriver.cuEventQuery(event);
      if (rc == CUresult.CUDA_ERROR_NOT_READY) {
        return false;
      }
      check(rc, "cuEventQuery", "work before the event");
      return true;
    }

    @Override
    public void close() {
      check(JCudaDriver.cuEventDestroy(event), "cuEventDestroy", "an event");
    }
  }

  /** Work captured once and replayed with one call: no launch, no allocation for each kernel. */
  public static final class Graph implements Recording {
    private final CUgraphExec executable = new CUgraphExec();

    private Graph(CUgraph graph) {
      check(
          JCudaDriver.cuGraphInstantiate(executable, graph, /* flags */ 0L),
          "cuGraphInstantiate",
          "captured work");
      check(JCudaDriver.cuGraphDestroy(graph), "cuGraphDestroy", "captured work");
    }

    @Override
    public void close() {
      check(JCudaDriver.cuGraphExecDestroy(executable), "cuGraphExecDestroy", "captured work");
    }
  }

  @Override
  public void bind() {
    device.bind();
  }

  @Override
  public void launch(Launch l) {
    NativePointerObject[] parameters = new NativePointerObject[l.arguments().size()];
    for (int i = 0; i < parameters.length; i++) {
      parameters[i] =
          switch (l.arguments().get(i)) {
            case Launch.Argument.Address a -> Pointer.to(new long[] {a.value()});
            case Launch.Argument.Int32 n -> Pointer.to(new int[] {n.value()});
            case Launch.Argument.Int64 n -> Pointer.to(new long[] {n.value()});
            case Launch.Argument.Float32 x -> Pointer.to(new float[] {x.value()});
            case Launch.Argument.Map m -> Pointer.to(m.value().encode());
            case Launch.Argument.Tickets _ -> Pointer.to(tickets);
          };
    }
    check(
        JCudaDriver.cuLaunchKernel(
            device.function(l),
            l.grid().x(),
            l.grid().y(),
            l.grid().z(),
            l.block().x(),
            l.block().y(),
            l.block().z(),
            l.sharedBytes(),
            stream,
            Pointer.to(parameters),
            null),
        "cuLaunchKernel",
        l);
  }

  @Override
  public void after(Launcher other) {
    if (other instanceof Stream s) {
      try (Event e = s.record()) {
        await(e);
      }
    } else {
      throw new IllegalArgumentException("a stream can only wait for a stream, not for " + other);
    }
  }

  @Override
  public void upload(ByteBuffer from, DeviceBuffer to) {
    check(
        JCudaDriver.cuMemcpyHtoDAsync(
            to.pointer(), Pointer.toBuffer(from), from.remaining(), stream),
        "cuMemcpyHtoDAsync",
        from.remaining() + " bytes into a buffer of " + to.bytes());
  }

  @Override
  public void download(DeviceBuffer from, ByteBuffer to) {
    check(
        JCudaDriver.cuMemcpyDtoHAsync(Pointer.toBuffer(to), from.pointer(), to.remaining(), stream),
        "cuMemcpyDtoHAsync",
        to.remaining() + " bytes from a buffer of " + from.bytes());
  }

  @Override
  public void copy(DeviceBuffer from, DeviceBuffer to) {
    check(
        JCudaDriver.cuMemcpyDtoDAsync(to.pointer(), from.pointer(), from.bytes(), stream),
        "cuMemcpyDtoDAsync",
        from.bytes() + " bytes into a buffer of " + to.bytes());
  }

  @Override
  public void fill(DeviceBuffer buffer, byte value) {
    check(
        JCudaDriver.cuMemsetD8Async(buffer.pointer(), value, buffer.bytes(), stream),
        "cuMemsetD8Async",
        buffer.bytes() + " bytes");
  }

  /** Marks this point. */
  public Event record() {
    Event e = new Event();
    check(JCudaDriver.cuEventRecord(e.event, stream), "cuEventRecord", "an event");
    return e;
  }

  @Override
  public Mark mark() {
    return record();
  }

  @Override
  public void after(Mark mark) {
    if (mark instanceof Event event) {
      await(event);
    } else {
      throw new IllegalArgumentException("a stream can only wait for an event, not for " + mark);
    }
  }

  /** What is put in from now on runs after {@code event}. */
  public void await(Event event) {
    check(JCudaDriver.cuStreamWaitEvent(stream, event.event, 0), "cuStreamWaitEvent", "an event");
  }

  /** {@inheritDoc} The recording is a CUDA graph. */
  @Override
  public Graph capture(Runnable work) {
    check(
        JCudaDriver.cuStreamBeginCapture(
            stream, CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
        "cuStreamBeginCapture",
        "a stream");
    CUgraph graph = new CUgraph();
    boolean whole = false;
    try {
      work.run();
      whole = true;
    } finally {
      int rc = JCudaDriver.cuStreamEndCapture(stream, graph);
      if (whole) {
        check(rc, "cuStreamEndCapture", "the captured work");
      } else if (rc == CUresult.CUDA_SUCCESS) {
        check(JCudaDriver.cuGraphDestroy(graph), "cuGraphDestroy", "half-captured work");
      }
    }
    return new Graph(graph);
  }

  @Override
  public void replay(Recording recording) {
    if (recording instanceof Graph graph) {
      check(JCudaDriver.cuGraphLaunch(graph.executable, stream), "cuGraphLaunch", "captured work");
    } else {
      throw new IllegalArgumentException("a stream can only replay a graph, not " + recording);
    }
  }

  @Override
  public void synchronize() {
    check(JCudaDriver.cuStreamSynchronize(stream), "cuStreamSynchronize", "work queued before");
  }

  /**
   * Whether everything put in so far is done.
   *
   * @throws CudaException when any of it failed
   */
  public boolean isIdle() {
    int rc = JCudaDriver.cuStreamQuery(stream);
    if (rc == CUresult.CUDA_ERROR_NOT_READY) {
      return false;
    }
    check(rc, "cuStreamQuery", "work queued before");
    return true;
  }

  /** The driver's handle, for libraries that JCuda does not know. */
  public long handle() {
    return stream.address();
  }

  @Override
  public void close() {
    check(JCudaDriver.cuStreamDestroy(stream), "cuStreamDestroy", "a stream");
    check(JCudaDriver.cuMemFree(tickets), "cuMemFree", "a stream's tickets");
  }
}
