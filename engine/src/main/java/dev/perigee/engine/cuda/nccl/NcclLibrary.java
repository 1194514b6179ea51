package dev.perigee.engine.cuda.nccl;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.perigee.engine.cuda.driver.CudaException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/** NCCL 2 through {@code java.lang.foreign}; its C interface has been the same since 2.7. */
@SuppressWarnings("restricted") // native calls are this class's purpose
final class NcclLibrary implements Nccl {
  /** What the loader looks for in its own paths and in {@code LD_LIBRARY_PATH}. */
  static final String NAME = "libnccl.so.2";

  /** Why the library is not used, in one line. */
  static final String ABSENT =
      "no NCCL: "
          + NAME
          + " is not on this machine or not in LD_LIBRARY_PATH; it comes with the CUDA toolkit's"
          + " package libnccl2";

  /** {@code ncclUniqueId}: a struct that is passed by value. */
  private static final MemoryLayout ID =
      MemoryLayout.structLayout(MemoryLayout.sequenceLayout(ID_BYTES, JAVA_BYTE));

  /** Send, receive, count, type, operation or root, communicator, stream. */
  private static final MemoryLayout[] COLLECTIVE = {
    JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG
  };

  private static final int LONGEST_MESSAGE = 1024;

  private final SymbolLookup symbols;
  private final MethodHandle getVersion;
  private final MethodHandle getUniqueId;
  private final MethodHandle commInitRank;
  private final MethodHandle commGetAsyncError;
  private final MethodHandle commAbort;
  private final MethodHandle commDestroy;
  private final MethodHandle groupStart;
  private final MethodHandle groupEnd;
  private final MethodHandle allReduce;
  private final MethodHandle reduce;
  private final MethodHandle broadcast;
  private final MethodHandle reduceScatter;
  private final MethodHandle allGather;
  private final MethodHandle send;
  private final MethodHandle receive;
  private final MethodHandle errorString;

  NcclLibrary(SymbolLookup symbols) {
    this.symbols = symbols;
    getVersion = call("ncclGetVersion", ADDRESS);
    getUniqueId = call("ncclGetUniqueId", ADDRESS);
    commInitRank = call("ncclCommInitRank", ADDRESS, JAVA_INT, ID, JAVA_INT);
    commGetAsyncError = call("ncclCommGetAsyncError", JAVA_LONG, ADDRESS);
    commAbort = call("ncclCommAbort", JAVA_LONG);
    commDestroy = call("ncclCommDestroy", JAVA_LONG);
    groupStart = call("ncclGroupStart");
    groupEnd = call("ncclGroupEnd");
    allReduce = call("ncclAllReduce", COLLECTIVE);
    reduce =
        call(
            "ncclReduce",
            JAVA_LONG,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_LONG,
            JAVA_LONG);
    broadcast = call("ncclBroadcast", COLLECTIVE);
    reduceScatter = call("ncclReduceScatter", COLLECTIVE);
    allGather =
        call("ncclAllGather", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_LONG, JAVA_LONG);
    send = call("ncclSend", JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG);
    receive = call("ncclRecv", JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_LONG);
    errorString =
        Linker.nativeLinker()
            .downcallHandle(
                symbols.findOrThrow("ncclGetErrorString"),
                FunctionDescriptor.of(ADDRESS, JAVA_INT));
  }

  /** The library, or empty on a machine without it. Loads it for good. */
  static Optional<NcclLibrary> load() {
    try {
      return Optional.of(new NcclLibrary(SymbolLookup.libraryLookup(NAME, Arena.global())));
    } catch (IllegalArgumentException e) {
      return Optional.empty();
    }
  }

  private MethodHandle call(String name, MemoryLayout... arguments) {
    return Linker.nativeLinker()
        .downcallHandle(
            symbols
                .find(name)
                .orElseThrow(
                    () -> new CudaException("NCCL has no " + name + "; use version 2.7 or newer")),
            FunctionDescriptor.of(JAVA_INT, arguments));
  }

  /** One call; its return code. */
  @FunctionalInterface
  private interface Native {
    int call() throws Throwable;
  }

  private void check(String name, Native call) {
    int rc;
    try {
      rc = call.call();
    } catch (Throwable e) {
      throw new LinkageError("cannot call " + name, e);
    }
    if (rc != 0) {
      throw new CudaException(name + ": " + words(rc));
    }
  }

  private String words(int rc) {
    try {
      MemorySegment text = (MemorySegment) errorString.invokeExact(rc);
      return "error " + rc + ", " + text.reinterpret(LONGEST_MESSAGE).getString(0);
    } catch (Throwable e) {
      throw new LinkageError("cannot call ncclGetErrorString", e);
    }
  }

  @Override
  public int version() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment version = arena.allocate(JAVA_INT);
      check("ncclGetVersion", () -> (int) getVersion.invokeExact(version));
      return version.get(JAVA_INT, 0);
    }
  }

  @Override
  public byte[] uniqueId() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment id = arena.allocate(ID);
      check("ncclGetUniqueId", () -> (int) getUniqueId.invokeExact(id));
      return id.toArray(JAVA_BYTE);
    }
  }

  @Override
  public long initRank(int ranks, byte[] id, int rank) {
    if (id.length != ID_BYTES) {
      throw new IllegalArgumentException("an id of " + id.length + " bytes, not " + ID_BYTES);
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment communicator = arena.allocate(JAVA_LONG);
      MemorySegment copy = arena.allocateFrom(JAVA_BYTE, id);
      check(
          "ncclCommInitRank",
          () -> (int) commInitRank.invokeExact(communicator, ranks, copy, rank));
      return communicator.get(JAVA_LONG, 0);
    }
  }

  @Override
  public String asyncError(long communicator) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment error = arena.allocate(JAVA_INT);
      check(
          "ncclCommGetAsyncError", () -> (int) commGetAsyncError.invokeExact(communicator, error));
      int rc = error.get(JAVA_INT, 0);
      return rc == 0 ? null : words(rc);
    }
  }

  @Override
  public void abort(long communicator) {
    check("ncclCommAbort", () -> (int) commAbort.invokeExact(communicator));
  }

  @Override
  public void destroy(long communicator) {
    check("ncclCommDestroy", () -> (int) commDestroy.invokeExact(communicator));
  }

  @Override
  public void groupStart() {
    check("ncclGroupStart", () -> (int) groupStart.invokeExact());
  }

  @Override
  public void groupEnd() {
    check("ncclGroupEnd", () -> (int) groupEnd.invokeExact());
  }

  @Override
  public void allReduce(
      long send, long receive, long count, Type type, Op op, long communicator, long stream) {
    check(
        "ncclAllReduce",
        () ->
            (int)
                allReduce.invokeExact(
                    send, receive, count, type.code, op.code, communicator, stream));
  }

  @Override
  public void reduce(
      long send,
      long receive,
      long count,
      Type type,
      Op op,
      int root,
      long communicator,
      long stream) {
    check(
        "ncclReduce",
        () ->
            (int)
                reduce.invokeExact(
                    send, receive, count, type.code, op.code, root, communicator, stream));
  }

  @Override
  public void broadcast(
      long send, long receive, long count, Type type, int root, long communicator, long stream) {
    check(
        "ncclBroadcast",
        () ->
            (int)
                broadcast.invokeExact(send, receive, count, type.code, root, communicator, stream));
  }

  @Override
  public void reduceScatter(
      long send, long receive, long count, Type type, Op op, long communicator, long stream) {
    check(
        "ncclReduceScatter",
        () ->
            (int)
                reduceScatter.invokeExact(
                    send, receive, count, type.code, op.code, communicator, stream));
  }

  @Override
  public void allGather(
      long send, long receive, long count, Type type, long communicator, long stream) {
    check(
        "ncclAllGather",
        () -> (int) allGather.invokeExact(send, receive, count, type.code, communicator, stream));
  }

  @Override
  public void send(long from, long count, Type type, int peer, long communicator, long stream) {
    check(
        "ncclSend",
        () -> (int) send.invokeExact(from, count, type.code, peer, communicator, stream));
  }

  @Override
  public void receive(long to, long count, Type type, int peer, long communicator, long stream) {
    check(
        "ncclRecv",
        () -> (int) receive.invokeExact(to, count, type.code, peer, communicator, stream));
  }
}
