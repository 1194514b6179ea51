package dev.perigee.engine.generate;

import dev.perigee.engine.model.Model;

/** SKELETON of the API; the implementation follows. */
@SuppressWarnings("DoNotCallSuggester") // goes with the skeleton
public final class Generator {
  private final Model model;

  /** Generates with a model; when its experts are spread over ranks, all of them call together. */
  public Generator(Model model) {
    this.model = model;
  }

  /**
   * How the next token is chosen.
   *
   * @param temperature 0 for the most probable token
   * @param seed of the random choice; each prompt draws from its own stream
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
    throw new UnsupportedOperationException(model.config().toString());
  }
}
