package dev.perigee.engine.parallel;

/** How two numbers become one. */
enum Reduction {
  SUM {
    @Override
    void into(float[] left, int l, float[] right, int r, int count) {
      for (int i = 0; i < count; i++) {
        left[l + i] += right[r + i];
      }
    }
  },
  MAX {
    @Override
    void into(float[] left, int l, float[] right, int r, int count) {
      for (int i = 0; i < count; i++) {
        left[l + i] = Math.max(left[l + i], right[r + i]);
      }
    }
  };

  /** Combines {@code count} numbers of {@code right} into {@code left}, element by element. */
  abstract void into(float[] left, int l, float[] right, int r, int count);
}
