package dev.perigee.engine.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * NVIDIA's products, of whichever version is installed, through {@code java.lang.foreign}: the C
 * interface of {@code cublasGemmStridedBatchedEx} has been the same since version 11. One stream,
 * so results are bitwise reproducible; no TF32.
 */
@SuppressWarnings("restricted") // native calls are this class's purpose
final class Cublas implements Product {
  private static final int NO_TRANSPOSE = 0;
  private static final int TRANSPOSE = 1;
  private static final int FLOAT32 = 0; // cudaDataType
  private static final int BF16 = 14;
  private static final int COMPUTE_FLOAT32 = 68; // cublasComputeType_t
  private static final int DEFAULT_ALGORITHM = -1;

  /** What the library's manual recommends for Hopper. */
  private static final long WORKSPACE_BYTES = 32L << 20;

  private final Arena arena = Arena.ofShared();
  private final MethodHandle destroy;
  private final MethodHandle multiply;
  private final MemorySegment handle;
  private final MemorySegment alpha = arena.allocate(JAVA_FLOAT);
  private final MemorySegment beta = arena.allocate(JAVA_FLOAT);

  private Cublas(SymbolLookup library, long stream, DeviceBuffer workspace) {
    destroy = function(library, "cublasDestroy_v2", ADDRESS);
    multiply =
        function(
            library,
            "cublasGemmStridedBatchedEx",
            ADDRESS,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT,
            ADDRESS,
            JAVA_LONG,
            JAVA_INT,
            JAVA_INT,
            JAVA_LONG,
            JAVA_LONG,
            JAVA_INT,
            JAVA_INT,
            JAVA_LONG,
            ADDRESS,
            JAVA_LONG,
            JAVA_INT,
            JAVA_INT,
            JAVA_LONG,
            JAVA_INT,
            JAVA_INT,
            JAVA_INT);
    MemorySegment created = arena.allocate(ADDRESS);
    try {
      check(
          (int) function(library, "cublasCreate_v2", ADDRESS).invokeExact(created),
          "cublasCreate_v2",
          "a handle");
      handle = created.get(ADDRESS, 0);
      check(
          (int)
              function(library, "cublasSetStream_v2", ADDRESS, ADDRESS)
                  .invokeExact(handle, MemorySegment.ofAddress(stream)),
          "cublasSetStream_v2",
          "a stream");
      // Its own would come from a pool that a captured graph allocates from at each replay.
      check(
          (int)
              function(library, "cublasSetWorkspace_v2", ADDRESS, ADDRESS, JAVA_LONG)
                  .invokeExact(
                      handle, MemorySegment.ofAddress(workspace.address()), workspace.bytes()),
          "cublasSetWorkspace_v2",
          workspace);
    } catch (RuntimeException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("cublasCreate_v2", e);
    }
  }

  private static MethodHandle function(
      SymbolLookup library, String name, MemoryLayout... arguments) {
    return Linker.nativeLinker()
        .downcallHandle(library.findOrThrow(name), FunctionDescriptor.of(JAVA_INT, arguments));
  }

  /**
   * The library for work on one stream of the current device; empty where it is not installed.
   *
   * @param memory for what it works in
   */
  static Optional<Cublas> load(Stream stream, DeviceMemory memory) {
    for (String name : candidates(System.getenv())) {
      try {
        SymbolLookup library = SymbolLookup.libraryLookup(name, Arena.global());
        return Optional.of(new Cublas(library, stream.handle(), memory.allocate(WORKSPACE_BYTES)));
      } catch (IllegalArgumentException e) {
        // Not there: the next place.
      }
    }
    return Optional.empty();
  }

  /**
   * Names to try in turn: what the loader finds by itself ({@code ldconfig}, {@code
   * LD_LIBRARY_PATH}), then the folder of the toolkit, the newest version first.
   */
  static List<String> candidates(Map<String, String> environment) {
    List<String> names = List.of("libcublas.so.13", "libcublas.so.12", "libcublas.so");
    List<String> found = new ArrayList<>(names);
    for (String variable : List.of("CUDA_HOME", "CUDA_PATH")) {
      String folder = environment.get(variable);
      if (folder != null && !folder.isBlank()) {
        names.forEach(name -> found.add(Path.of(folder, "lib64", name).toString()));
      }
    }
    names.forEach(name -> found.add("/usr/local/cuda/lib64/" + name));
    return found;
  }

  /**
   * {@inheritDoc}
   *
   * <p>The library knows columns first: a row-major matrix is its transpose there, and cᵀ = op(b)ᵀ
   * · op(a)ᵀ.
   */
  @Override
  public void multiply(
      Sizes s, float alphaValue, Operand a, Operand b, float betaValue, Operand c) {
    alpha.set(JAVA_FLOAT, 0, alphaValue);
    beta.set(JAVA_FLOAT, 0, betaValue);
    int rc;
    try {
      rc =
          (int)
              multiply.invokeExact(
                  handle,
                  s.transposeB() ? TRANSPOSE : NO_TRANSPOSE,
                  s.transposeA() ? TRANSPOSE : NO_TRANSPOSE,
                  s.n(),
                  s.m(),
                  s.k(),
                  alpha,
                  b.address(),
                  type(b),
                  b.rowStride(),
                  b.stride(),
                  a.address(),
                  type(a),
                  a.rowStride(),
                  a.stride(),
                  beta,
                  c.address(),
                  type(c),
                  c.rowStride(),
                  c.stride(),
                  s.count(),
                  COMPUTE_FLOAT32,
                  DEFAULT_ALGORITHM);
    } catch (Throwable e) {
      throw new LinkageError("cublasGemmStridedBatchedEx", e);
    }
    check(rc, "cublasGemmStridedBatchedEx", s);
  }

  private static int type(Operand x) {
    return x.bf16() ? BF16 : FLOAT32;
  }

  private static void check(int rc, String call, Object about) {
    if (rc != 0) {
      throw new CudaException(call + ", " + about + ": cuBLAS status " + rc);
    }
  }

  @Override
  public void close() {
    try {
      check((int) destroy.invokeExact(handle), "cublasDestroy_v2", "a handle");
    } catch (RuntimeException e) {
      throw e;
    } catch (Throwable e) {
      throw new LinkageError("cublasDestroy_v2", e);
    }
    arena.close();
  }
}
