package dev.perigee.engine.backend;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.openblas.global.openblas_nolapack;

/**
 * OpenBLAS: every native call of the CPU backend is here. JavaCPP unpacks and loads the library;
 * the product is then called directly on heap arrays, without copies. The library runs on the
 * calling thread only, since a rank is a thread.
 */
final class Blas {
  private static final int ROW_MAJOR = 101;
  private static final int NO_TRANSPOSE = 111;
  private static final int TRANSPOSE = 112;
  private static final MethodHandle SGEMM = load();

  private Blas() {}

  /** Whether the library could be loaded on this platform. */
  static boolean available() {
    return SGEMM != null;
  }

  /** See {@link Gemm#multiply}. */
  static void multiply(
      boolean transposeA,
      boolean transposeB,
      int m,
      int n,
      int k,
      float alpha,
      float[] a,
      int aAt,
      int lda,
      float[] b,
      int bAt,
      int ldb,
      float beta,
      float[] c,
      int cAt,
      int ldc) {
    if (m == 0 || n == 0) {
      return;
    }
    // The library checks nothing: a wrong size here would read or write past an array.
    check("a", a, aAt, lda, transposeA ? k : m, transposeA ? m : k);
    check("b", b, bAt, ldb, transposeB ? n : k, transposeB ? k : n);
    check("c", c, cAt, ldc, m, n);
    try {
      SGEMM.invokeExact(
          ROW_MAJOR,
          transposeA ? TRANSPOSE : NO_TRANSPOSE,
          transposeB ? TRANSPOSE : NO_TRANSPOSE,
          m,
          n,
          k,
          alpha,
          MemorySegment.ofArray(a).asSlice(4L * aAt),
          lda,
          MemorySegment.ofArray(b).asSlice(4L * bAt),
          ldb,
          beta,
          MemorySegment.ofArray(c).asSlice(4L * cAt),
          ldc);
    } catch (Throwable e) {
      throw new AssertionError("cblas_sgemm does not throw", e);
    }
  }

  private static void check(String name, float[] x, int at, int ld, int rows, int columns) {
    boolean empty = rows == 0 || columns == 0;
    if (at < 0
        || ld < Math.max(1, columns)
        || (!empty && at + (long) (rows - 1) * ld + columns > x.length)) {
      throw new IndexOutOfBoundsException(
          "%s: %d rows of %d with stride %d at %d do not fit into %d elements"
              .formatted(name, rows, columns, ld, at, x.length));
    }
  }

  @SuppressWarnings(
      "restricted") // native access is what this class is for; the launchers enable it
  private static MethodHandle load() {
    try {
      Loader.load(openblas_nolapack.class);
      Linker linker = Linker.nativeLinker();
      SymbolLookup library = SymbolLookup.loaderLookup();
      linker
          .downcallHandle(
              library.findOrThrow("openblas_set_num_threads"), FunctionDescriptor.ofVoid(JAVA_INT))
          .invokeExact(1);
      return linker.downcallHandle(
          library.findOrThrow("cblas_sgemm"),
          FunctionDescriptor.ofVoid(
              JAVA_INT,
              JAVA_INT,
              JAVA_INT,
              JAVA_INT,
              JAVA_INT,
              JAVA_INT,
              JAVA_FLOAT,
              ADDRESS,
              JAVA_INT,
              ADDRESS,
              JAVA_INT,
              JAVA_FLOAT,
              ADDRESS,
              JAVA_INT),
          Linker.Option.critical(true)); // heap arrays are passed as they are
    } catch (Throwable e) {
      System.err.println(
          "perigee: OpenBLAS could not be loaded ("
              + e
              + "); matrix products fall back to plain Java, which is several times slower");
      return null;
    }
  }
}
