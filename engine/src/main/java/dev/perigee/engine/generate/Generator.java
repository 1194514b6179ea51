package dev.perigee.engine.generate;

import dev.perigee.engine.model.LatentCache;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import java.util.SplittableRandom;

/**
 * Continues prompts, many at a time. All sequences of a batch stand at the same position: one whose
 * prompt is longer reads on while another already writes, so nothing is padded. When the experts
 * are spread over ranks, the ranks of the group generate together, each its own prompts (or none).
 */
public final class Generator {
  private final Model model;
  private final Collectives expertGroup;

  /**
   * Generates with a model.
   *
   * @param expertGroup the group that the model was created with
   */
  public Generator(Model model, Collectives expertGroup) {
    this.model = model;
    this.expertGroup = expertGroup;
  }

  /**
   * How the next token is chosen.
   *
   * @param temperature 0 for the most probable token, the first of equal ones
   * @param seed of the random choice; prompt i draws from its own stream
   */
  public record Sampling(double temperature, long seed) {
    /** Always the most probable token. */
    public static final Sampling GREEDY = new Sampling(0, 0);
  }

  /**
   * Continues every prompt.
   *
   * @param prompts token ids, at least one each; may be none when other ranks have some
   * @param maxNewTokens at most so many new tokens for each
   * @param stopToken ends a continuation (and is its last token); −1 for none
   * @return the new tokens of each prompt
   */
  public int[][] generate(int[][] prompts, int maxNewTokens, int stopToken, Sampling sampling) {
    int batch = prompts.length;
    int[] used = new int[batch]; // tokens of prompt and continuation so far
    boolean[] ended = new boolean[batch];
    int longest = 0;
    for (int i = 0; i < batch; i++) {
      if (prompts[i].length == 0) {
        throw new IllegalArgumentException("prompt " + i + " is empty; expected a token or more");
      }
      used[i] = prompts[i].length;
      ended[i] = maxNewTokens == 0;
      longest = Math.max(longest, prompts[i].length);
    }
    int positions = agreeOnMax(longest) + maxNewTokens - 1;
    int[][] tokens = new int[batch][];
    for (int i = 0; i < batch; i++) {
      tokens[i] = Arrays.copyOf(prompts[i], prompts[i].length + maxNewTokens);
    }
    SplittableRandom[] random = new SplittableRandom[batch];
    Arrays.setAll(random, i -> new SplittableRandom(sampling.seed() * 0x9e3779b97f4a7c15L + i));
    int vocabulary = model.config().vocabSize();
    Tensor logits_BV = model.backend().zeros(batch, vocabulary);
    int[] next = new int[batch];
    try (LatentCache cache = model.newCache(batch, Math.max(1, positions))) {
      for (int at = 0; at < positions; at++) {
        if (agreeOnMax(allEnded(ended) ? 0 : 1) == 0) {
          break;
        }
        for (int i = 0; i < batch; i++) {
          // A sequence that has ended goes on with its last token, which nobody reads.
          next[i] = tokens[i][Math.min(at, used[i] - 1)];
        }
        model.step(next, cache, logits_BV);
        Tensor host_BV = logits_BV.onHost();
        for (int i = 0; i < batch; i++) {
          if (!ended[i] && at == used[i] - 1) {
            int token = choose(host_BV, i, vocabulary, sampling.temperature(), random[i]);
            tokens[i][used[i]++] = token;
            ended[i] = token == stopToken || used[i] == tokens[i].length;
          }
        }
      }
    }
    int[][] continuations = new int[batch][];
    Arrays.setAll(continuations, i -> Arrays.copyOfRange(tokens[i], prompts[i].length, used[i]));
    return continuations;
  }

  private static boolean allEnded(boolean[] ended) {
    for (boolean e : ended) {
      if (!e) {
        return false;
      }
    }
    return true;
  }

  private int agreeOnMax(int value) {
    if (expertGroup.size() == 1) {
      return value;
    }
    Tensor x = Tensor.of(new float[] {value}, 1);
    expertGroup.allReduceMax(x);
    return (int) x.floats()[0];
  }

  private static int choose(
      Tensor logits_BV, int row, int vocabulary, double temperature, SplittableRandom random) {
    float[] x = logits_BV.floats();
    int at = logits_BV.offset() + row * vocabulary;
    int best = 0;
    for (int v = 1; v < vocabulary; v++) {
      if (x[at + v] > x[at + best]) {
        best = v;
      }
    }
    if (temperature == 0) {
      return best;
    }
    double[] cumulative = new double[vocabulary];
    double sum = 0;
    for (int v = 0; v < vocabulary; v++) {
      sum += Math.exp((x[at + v] - x[at + best]) / temperature);
      cumulative[v] = sum;
    }
    double drawn = random.nextDouble() * sum;
    int v = Arrays.binarySearch(cumulative, drawn);
    return Math.min(v < 0 ? -v - 1 : v + 1, vocabulary - 1);
  }
}
