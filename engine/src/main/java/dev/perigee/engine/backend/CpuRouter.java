package dev.perigee.engine.backend;

import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;

/** DeepSeek-V3's routing on the CPU, one token after the other. */
final class CpuRouter {
  private static final float TINY = 1e-20f; // as in the reference, against a sum of zero

  private CpuRouter() {}

  /** See {@link Backend#route}; {@code logits_TE} holds the scores s already. */
  static void choose(RouterShape s, Tensor s_TE, Tensor bias_E, int[] chosen_TK, Tensor weight_TK) {
    int experts = s.experts();
    float[] choice = new float[experts];
    float[] groupScore = new float[s.groups()];
    for (int t = 0; t < s_TE.dim(0); t++) {
      int row = s_TE.offset() + t * experts;
      for (int e = 0; e < experts; e++) {
        choice[e] = s_TE.floats()[row + e] + bias_E.floats()[bias_E.offset() + e];
      }
      if (s.chosenGroups() < s.groups()) {
        dropGroups(s, choice, groupScore);
      }
      float sum = 0;
      for (int k = 0; k < s.chosen(); k++) {
        int best = takeLargest(choice);
        chosen_TK[t * s.chosen() + k] = best;
        sum += s_TE.floats()[row + best];
      }
      float factor = s.normalize() ? s.scale() / (sum + TINY) : s.scale();
      for (int k = 0; k < s.chosen(); k++) {
        int at = t * s.chosen() + k;
        weight_TK.floats()[weight_TK.offset() + at] = s_TE.floats()[row + chosen_TK[at]] * factor;
      }
    }
  }

  private static void dropGroups(RouterShape s, float[] choice, float[] groupScore) {
    int width = s.experts() / s.groups();
    for (int g = 0; g < s.groups(); g++) {
      float first = Float.NEGATIVE_INFINITY;
      float second = Float.NEGATIVE_INFINITY;
      for (int e = g * width; e < (g + 1) * width; e++) {
        if (choice[e] > first) {
          second = first;
          first = choice[e];
        } else if (choice[e] > second) {
          second = choice[e];
        }
      }
      groupScore[g] = width == 1 ? first : first + second;
    }
    boolean[] kept = new boolean[s.groups()];
    for (int i = 0; i < s.chosenGroups(); i++) {
      kept[takeLargest(groupScore)] = true;
    }
    for (int g = 0; g < s.groups(); g++) {
      if (!kept[g]) {
        Arrays.fill(choice, g * width, (g + 1) * width, Float.NEGATIVE_INFINITY);
      }
    }
  }

  /** The index of the largest, the lowest of equal ones, which is then marked as taken. */
  private static int takeLargest(float[] x) {
    int best = -1;
    for (int i = 0; i < x.length; i++) {
      if (x[i] > (best < 0 ? Float.NEGATIVE_INFINITY : x[best])) {
        best = i;
      }
    }
    if (best < 0) {
      throw new ArithmeticException("routing: every score is NaN or taken: the model has diverged");
    }
    x[best] = Float.NEGATIVE_INFINITY;
    return best;
  }

  /** See {@link Backend#routeBackward}. */
  static void backward(
      RouterShape s, Tensor dweight_TK, Tensor s_TE, int[] chosen_TK, Tensor dlogits_TE) {
    int experts = s.experts();
    int chosen = s.chosen();
    float[] scores = s_TE.floats();
    float[] dweight = dweight_TK.floats();
    float[] dlogits = dlogits_TE.floats();
    Arrays.fill(dlogits, dlogits_TE.offset(), dlogits_TE.offset() + dlogits_TE.size(), 0);
    for (int t = 0; t < s_TE.dim(0); t++) {
      int row = s_TE.offset() + t * experts;
      int dRow = dlogits_TE.offset() + t * experts;
      int dwRow = dweight_TK.offset() + t * chosen;
      float sum = TINY;
      float mixed = 0;
      for (int k = 0; k < chosen; k++) {
        float score = scores[row + chosen_TK[t * chosen + k]];
        sum += score;
        mixed += dweight[dwRow + k] * score;
      }
      for (int k = 0; k < chosen; k++) {
        int e = chosen_TK[t * chosen + k];
        float score = scores[row + e];
        // weight_k = scale · s_k / Σ s, or scale · s_k
        float dscore =
            s.normalize()
                ? s.scale() / sum * (dweight[dwRow + k] - mixed / sum)
                : s.scale() * dweight[dwRow + k];
        dlogits[dRow + e] = dscore * score * (1 - score);
      }
    }
  }
}
