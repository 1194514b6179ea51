package dev.perigee.engine.cuda.nccl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.cuda.driver.CudaException;
import java.lang.foreign.AddressLayout;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/**
 * Each call reaches a native function of NCCL's own signature with its arguments in their places:
 * the functions here are stubs with the types of {@code nccl.h}, called through the machine's ABI.
 */
@SuppressWarnings("restricted") // native calls are what is tested
final class NcclLibraryTest {
  private static final MemoryLayout ID =
      MemoryLayout.structLayout(MemoryLayout.sequenceLayout(128, ValueLayout.JAVA_BYTE));
  private static final AddressLayout POINTER = ValueLayout.ADDRESS;
  private static final MemoryLayout SIZE = ValueLayout.JAVA_LONG;
  private static final MemoryLayout INT = ValueLayout.JAVA_INT;

  private final Arena arena = Arena.ofShared();
  private final List<String> calls = new ArrayList<>();
  private final Map<String, MemorySegment> stubs = new HashMap<>();
  private int answer;
  private int written;

  private final NcclLibrary library;

  NcclLibraryTest() throws ReflectiveOperationException {
    // The signatures of nccl.h; enums are ints, communicators and streams pointers.
    stub("ncclGetVersion", POINTER);
    stub("ncclGetUniqueId", POINTER);
    stub("ncclCommInitRank", POINTER, INT, ID, INT);
    stub("ncclCommGetAsyncError", POINTER, POINTER);
    stub("ncclCommAbort", POINTER);
    stub("ncclCommDestroy", POINTER);
    stub("ncclGroupStart");
    stub("ncclGroupEnd");
    stub("ncclAllReduce", POINTER, POINTER, SIZE, INT, INT, POINTER, POINTER);
    stub("ncclReduce", POINTER, POINTER, SIZE, INT, INT, INT, POINTER, POINTER);
    stub("ncclBroadcast", POINTER, POINTER, SIZE, INT, INT, POINTER, POINTER);
    stub("ncclReduceScatter", POINTER, POINTER, SIZE, INT, INT, POINTER, POINTER);
    stub("ncclAllGather", POINTER, POINTER, SIZE, INT, POINTER, POINTER);
    stub("ncclSend", POINTER, SIZE, INT, INT, POINTER, POINTER);
    stub("ncclRecv", POINTER, SIZE, INT, INT, POINTER, POINTER);
    MemorySegment text = arena.allocateFrom("unhandled cuda error");
    stubs.put(
        "ncclGetErrorString",
        Linker.nativeLinker()
            .upcallStub(
                MethodHandles.dropArguments(
                    MethodHandles.constant(MemorySegment.class, text), 0, int.class),
                FunctionDescriptor.of(POINTER, INT),
                arena));
    SymbolLookup symbols = name -> Optional.ofNullable(stubs.get(name));
    library = new NcclLibrary(symbols);
  }

  @AfterEach
  void close() {
    arena.close();
  }

  private void stub(String name, MemoryLayout... arguments) throws ReflectiveOperationException {
    FunctionDescriptor type = FunctionDescriptor.of(ValueLayout.JAVA_INT, arguments);
    MethodHandle called =
        MethodHandles.lookup()
            .bind(this, "called", MethodType.methodType(int.class, String.class, Object[].class))
            .bindTo(name)
            .asCollector(Object[].class, arguments.length)
            .asType(type.toMethodType());
    stubs.put(name, Linker.nativeLinker().upcallStub(called, type, arena));
  }

  /** What every stub does: writes down its arguments, and fills in what it is to return. */
  @SuppressWarnings("unused") // found by its name
  private int called(String name, Object[] arguments) {
    List<String> texts = new ArrayList<>();
    for (Object a : arguments) {
      texts.add(
          a instanceof MemorySegment s
              ? s.byteSize() == 128
                  ? "id " + Arrays.hashCode(s.toArray(ValueLayout.JAVA_BYTE))
                  : s.address() > 1 << 16 ? "pointer" : "" + s.address()
              : a.toString());
    }
    calls.add(name + " " + String.join(" ", texts));
    if (name.equals("ncclGetVersion")) {
      ((MemorySegment) arguments[0]).reinterpret(4).set(ValueLayout.JAVA_INT, 0, 22703);
    }
    if (name.equals("ncclCommGetAsyncError")) {
      ((MemorySegment) arguments[1]).reinterpret(4).set(ValueLayout.JAVA_INT, 0, written);
    }
    if (name.equals("ncclGetUniqueId")) {
      ((MemorySegment) arguments[0]).reinterpret(128).fill((byte) 7);
    }
    if (name.equals("ncclCommInitRank")) {
      ((MemorySegment) arguments[0]).reinterpret(8).set(ValueLayout.JAVA_LONG, 0, 4711);
    }
    return answer;
  }

  @Test
  void everyArgumentArrivesInItsPlace() {
    assertThat(library.version()).isEqualTo(22703);
    byte[] id = library.uniqueId();
    assertThat(id).hasSize(128).containsOnly(7);
    id[127] = 9;
    assertThat(library.initRank(8, id, 3)).isEqualTo(4711);
    library.groupStart();
    library.allReduce(11, 12, 1L << 33, Nccl.Type.FLOAT64, Nccl.Op.MAX, 13, 14);
    library.reduce(21, 22, 23, Nccl.Type.FLOAT32, Nccl.Op.SUM, 5, 24, 25);
    library.broadcast(31, 32, 33, Nccl.Type.INT32, 6, 34, 35);
    library.reduceScatter(71, 72, 73, Nccl.Type.FLOAT32, Nccl.Op.SUM, 74, 75);
    library.allGather(81, 82, 83, Nccl.Type.BF16, 84, 85);
    library.send(41, 42, Nccl.Type.FLOAT32, 7, 43, 44);
    library.receive(51, 52, Nccl.Type.INT32, 0, 53, 54);
    library.groupEnd();
    assertThat(library.asyncError(61)).isNull();
    library.destroy(62);
    library.abort(63);
    assertThat(calls)
        .containsExactly(
            "ncclGetVersion pointer",
            "ncclGetUniqueId pointer",
            "ncclCommInitRank pointer 8 id " + Arrays.hashCode(id) + " 3",
            "ncclGroupStart ",
            "ncclAllReduce 11 12 8589934592 8 2 13 14",
            "ncclReduce 21 22 23 7 0 5 24 25",
            "ncclBroadcast 31 32 33 2 6 34 35",
            "ncclReduceScatter 71 72 73 7 0 74 75",
            "ncclAllGather 81 82 83 9 84 85",
            "ncclSend 41 42 7 7 43 44",
            "ncclRecv 51 52 2 0 53 54",
            "ncclGroupEnd ",
            "ncclCommGetAsyncError 61 pointer",
            "ncclCommDestroy 62",
            "ncclCommAbort 63");
  }

  @Test
  void whatFailsIsSaidInNcclsWords() {
    answer = 1;
    assertThatThrownBy(library::groupEnd)
        .isInstanceOf(CudaException.class)
        .hasMessage("ncclGroupEnd: error 1, unhandled cuda error");
    answer = 0;
    written = 6;
    assertThat(library.asyncError(1)).isEqualTo("error 6, unhandled cuda error");
  }

  @Test
  void aLibraryThatIsTooOldIsNamed() {
    stubs.remove("ncclRecv");
    SymbolLookup symbols = name -> Optional.ofNullable(stubs.get(name));
    assertThatThrownBy(() -> new NcclLibrary(symbols))
        .isInstanceOf(CudaException.class)
        .hasMessageContaining("NCCL has no ncclRecv");
  }

  @Test
  void aMachineWithoutItSaysSo() {
    Optional<String> why = NcclCollectives.whyAbsent();
    assertThat(why.isEmpty() || why.get().contains(NcclLibrary.NAME)).isTrue();
  }
}
