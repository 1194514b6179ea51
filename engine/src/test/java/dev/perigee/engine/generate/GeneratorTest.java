package dev.perigee.engine.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.engine.generate.Generator.Sampling;
import dev.perigee.engine.model.LatentCache;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Models;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class GeneratorTest {
  @Test
  void aStepWithTheCacheGivesTheLogitsOfTheWholeSequence() {
    for (ModelConfig config : List.of(Models.tiny(), Models.groups(), Models.yarn())) {
      Model model = Models.random(config);
      int v = config.vocabSize();
      int[] ids = Models.ids(2 * 12, v, 5);
      Tensor whole = model.logits(ids, 2, 12);
      LatentCache cache = model.newCache(2, 12);
      Tensor step = Tensor.zeros(2, v);
      for (int t = 0; t < 12; t++) {
        model.step(new int[] {ids[t], ids[12 + t]}, cache, step);
        for (int b = 0; b < 2; b++) {
          float[] expected =
              Arrays.copyOfRange(whole.floats(), (b * 12 + t) * v, (b * 12 + t + 1) * v);
          float[] found = Arrays.copyOfRange(step.floats(), b * v, (b + 1) * v);
          assertThat(found).containsExactly(expected, within(1e-4f));
        }
      }
    }
  }

  @Test
  void promptsOfDifferentLengthsTogetherGiveWhatEachGivesAlone() {
    Model model = Models.random(Models.tiny());
    Generator generator = new Generator(model, Collectives.solo());
    int[][] prompts = {{1}, {2, 3, 4, 5, 6}, {7, 8, 9}};
    int[][] together = generator.generate(prompts, 10, -1, Sampling.GREEDY);
    for (int i = 0; i < prompts.length; i++) {
      int[][] alone = generator.generate(new int[][] {prompts[i]}, 10, -1, Sampling.GREEDY);
      assertThat(together[i]).hasSize(10).isEqualTo(alone[0]);
    }
  }

  @Test
  void theStopTokenEndsAContinuationAndIsItsLast() {
    Model model = Models.random(Models.tiny());
    Generator generator = new Generator(model, Collectives.solo());
    int[][] prompts = {{1}, {2, 3}};
    int[][] whole = generator.generate(prompts, 12, -1, Sampling.GREEDY);
    int stop = whole[0][3];
    int[][] stopped = generator.generate(prompts, 12, stop, Sampling.GREEDY);
    for (int i = 0; i < prompts.length; i++) {
      int end = 0;
      while (end < 12 && whole[i][end] != stop) {
        end++;
      }
      assertThat(stopped[i]).isEqualTo(Arrays.copyOf(whole[i], Math.min(12, end + 1)));
    }
  }

  @Test
  void samplingFollowsItsSeedAndItsProbabilities() {
    Model model = Models.random(Models.tiny());
    Generator generator = new Generator(model, Collectives.solo());
    int n = 4000;
    int[][] prompts = new int[n][];
    Arrays.fill(prompts, new int[] {3, 4});
    int[][] one = generator.generate(prompts, 1, -1, new Sampling(1, 9));
    assertThat(generator.generate(prompts, 1, -1, new Sampling(1, 9))).isDeepEqualTo(one);
    assertThat(generator.generate(prompts, 1, -1, new Sampling(1, 10))).isNotEqualTo(one);
    int v = model.config().vocabSize();
    float[] logits = model.logits(new int[] {3, 4}, 1, 2).floats();
    double sum = 0;
    for (int i = 0; i < v; i++) {
      sum += Math.exp(logits[v + i]);
    }
    int[] counts = new int[v];
    for (int[] drawn : one) {
      counts[drawn[0]]++;
    }
    for (int i = 0; i < v; i++) {
      double p = Math.exp(logits[v + i]) / sum;
      double deviation = Math.sqrt(p * (1 - p) / n);
      assertThat((double) counts[i] / n).as("token %d", i).isCloseTo(p, within(5 * deviation));
    }
  }

  @Test
  void noPromptsAndNoNewTokensAreFineButAnEmptyPromptIsNot() {
    Generator generator = new Generator(Models.random(Models.tiny()), Collectives.solo());
    assertThat(generator.generate(new int[0][], 5, -1, Sampling.GREEDY)).isEmpty();
    assertThat(generator.generate(new int[][] {{1}}, 0, -1, Sampling.GREEDY)[0]).isEmpty();
    assertThatThrownBy(() -> generator.generate(new int[][] {{}}, 5, -1, Sampling.GREEDY))
        .hasMessage("prompt 0 is empty; expected a token or more");
  }
}
