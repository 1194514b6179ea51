package dev.perigee.engine.model;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Fp8;
import dev.perigee.engine.backend.Saved;
import dev.perigee.engine.tensor.Tensor;

/** Activations that wait for backward in a quarter of their memory. */
final class EightBits {
  private EightBits() {}

  /** Packs rows and gives their own memory back; who needs them gets what is left of them. */
  static void keep(Backend backend, Saved x_TC) {
    Arena.Region memory = backend.arena().innermost();
    int t = x_TC.dim(0);
    int c = x_TC.dim(1);
    Saved packed_TP = memory.save(memory.takeFloats(t, Fp8.packedWidth(c)));
    backend.packFp8(x_TC.get(), packed_TP.get());
    x_TC.drop(
        () -> {
          Tensor near_TC = backend.arena().take(t, c);
          backend.unpackFp8(packed_TP.get(), near_TC);
          return near_TC;
        });
  }
}
