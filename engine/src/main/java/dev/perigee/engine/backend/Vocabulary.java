package dev.perigee.engine.backend;

/** Checks of what a device does not look at. */
public final class Vocabulary {
  private Vocabulary() {}

  /**
   * Looks at token ids.
   *
   * @throws IllegalArgumentException naming the first that is not one of {@code size}
   */
  public static void requireTokens(int[] ids, int size) {
    for (int id : ids) {
      if (id < 0 || id >= size) {
        throw outside("token", id, size);
      }
    }
  }

  /**
   * Looks at targets, of which negative ones do not count.
   *
   * @throws IllegalArgumentException naming the first that is too large
   */
  public static void requireTargets(int[] targets, int size) {
    for (int target : targets) {
      if (target >= size) {
        throw outside("target", target, size);
      }
    }
  }

  private static IllegalArgumentException outside(String what, int id, int size) {
    return new IllegalArgumentException(what + " " + id + " is not in the vocabulary of " + size);
  }
}
