package dev.perigee.engine.cuda.driver;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.util.Optional;

/** The driver's own library through {@code java.lang.foreign}: what JCuda has no call for. */
@SuppressWarnings("restricted") // native calls are this class's purpose
final class DriverLibrary {
  /** Comes with the driver and not with the toolkit. */
  static final String NAME = "libcuda.so.1";

  private final SymbolLookup symbols;

  private DriverLibrary(SymbolLookup symbols) {
    this.symbols = symbols;
  }

  /** The library, or empty on a machine without the driver. Loads it for good. */
  static Optional<DriverLibrary> load() {
    try {
      return Optional.of(new DriverLibrary(SymbolLookup.libraryLookup(NAME, Arena.global())));
    } catch (IllegalArgumentException e) {
      return Optional.empty();
    }
  }

  /** A function by its exported name. */
  MethodHandle function(String name, FunctionDescriptor type) {
    return Linker.nativeLinker().downcallHandle(symbols.findOrThrow(name), type);
  }
}
