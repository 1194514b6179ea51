package dev.perigee.engine.cuda;

/** What products multiply. Tensors, sums and everything else are float32 either way. */
public enum Precision {
  /** float32 numbers: for checking. */
  FP32,
  /** Rounded to bf16, on tensor cores. */
  BF16
}
