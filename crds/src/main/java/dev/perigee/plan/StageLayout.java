package dev.perigee.plan;

import dev.perigee.run.ModelConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Which layers each chunk of a pipeline has. The first chunk has the embedding, the last one the
 * final norm, the head and the loss; these two may have no layers besides. Chunk {@code c} stands
 * on stage {@code c % stages}.
 *
 * @param layers how many consecutive layers each chunk has, in the order of the model
 */
public record StageLayout(List<Integer> layers) {
  public StageLayout {
    layers = List.copyOf(layers);
  }

  /** Everything in one place. */
  public static StageLayout whole(ModelConfig model) {
    return new StageLayout(List.of(model.numHiddenLayers()));
  }

  /**
   * The layout whose dearest chunk is as cheap as can be, by {@link FlopCount}; among those, the
   * one whose chunks differ least.
   *
   * @param chunks stages × virtual stages
   * @param length tokens of a sequence
   * @throws IllegalArgumentException when there are more chunks than {@link #mostChunks}
   */
  public static StageLayout byCost(ModelConfig model, int chunks, int length) {
    int layers = model.numHiddenLayers();
    if (chunks < 1 || chunks > mostChunks(layers)) {
      throw new IllegalArgumentException(tooMany(chunks, layers));
    }
    double[] upTo = new double[layers + 1]; // cost of the layers before
    for (int i = 0; i < layers; i++) {
      upTo[i + 1] = upTo[i] + FlopCount.layer(model, i, length).forward();
    }
    double head = FlopCount.head(model).forward();
    // Of the best way to have the first n layers in the chunks so far: its dearest, and their sum.
    double[] dearest = new double[layers + 1];
    double[] squares = new double[layers + 1];
    Arrays.fill(dearest, 1, layers + 1, Double.POSITIVE_INFINITY);
    int[][] before = new int[chunks + 1][layers + 1];
    for (int c = 1; c <= chunks; c++) {
      boolean last = c == chunks;
      boolean mayBeEmpty = c == 1 || last;
      // Layers of the chunks before, of which the first may be empty.
      int fewest = Math.max(0, c - 2);
      double[] nextDearest = new double[layers + 1];
      double[] nextSquares = new double[layers + 1];
      Arrays.fill(nextDearest, Double.POSITIVE_INFINITY);
      for (int n = last ? layers : 0; n <= layers; n++) {
        for (int from = mayBeEmpty ? n : n - 1; from >= fewest; from--) {
          double own = upTo[n] - upTo[from] + (last ? head : 0);
          if (own > nextDearest[n]) {
            break; // and so are all with more layers
          }
          double most = Math.max(dearest[from], own);
          double sum = squares[from] + own * own;
          if (most < nextDearest[n]
              || (most == nextDearest[n]
                  && most < Double.POSITIVE_INFINITY
                  && sum <= nextSquares[n])) {
            nextDearest[n] = most;
            nextSquares[n] = sum;
            before[c][n] = from;
          }
        }
      }
      dearest = nextDearest;
      squares = nextSquares;
    }
    Integer[] found = new Integer[chunks];
    int end = layers;
    for (int c = chunks; c >= 1; c--) {
      found[c - 1] = end - before[c][end];
      end = before[c][end];
    }
    return new StageLayout(Arrays.asList(found));
  }

  /** Chunks that a model can be cut into: its layers, and the embedding and the head alone. */
  public static int mostChunks(int layers) {
    return layers + 2;
  }

  private static String tooMany(int chunks, int layers) {
    return "parallelism: pipeline × virtualStages = %d chunks for a model of %d layers; use at most %d"
            .formatted(chunks, layers, mostChunks(layers))
        + ", where embedding and head stand alone";
  }

  /**
   * What is wrong with this layout, one line each; empty when nothing is.
   *
   * @param chunks stages × virtual stages
   * @param modelLayers layers of the model
   */
  public List<String> problems(int chunks, int modelLayers) {
    List<String> found = new ArrayList<>();
    if (layers.size() != chunks) {
      found.add(
          "parallelism.layout: %d entries; expected one for each of the pipeline × virtualStages ="
                  .formatted(layers.size())
              + " %d chunks".formatted(chunks));
    }
    int sum = 0;
    for (int c = 0; c < layers.size(); c++) {
      int n = layers.get(c);
      sum += n;
      boolean end = c == 0 || c == layers.size() - 1;
      if (n < (end ? 0 : 1)) {
        found.add(
            "parallelism.layout[%d]: %d layers; expected at least %d".formatted(c, n, end ? 0 : 1));
      }
    }
    if (sum != modelLayers) {
      found.add(
          "parallelism.layout: %s are %d layers; the model has %d"
              .formatted(layers, sum, modelLayers));
    }
    return found;
  }

  /** Why a model of so many layers cannot be cut into so many chunks; empty when it can. */
  public static List<String> problemsOf(int chunks, int modelLayers) {
    return chunks > mostChunks(modelLayers) ? List.of(tooMany(chunks, modelLayers)) : List.of();
  }

  /** Chunks. */
  public int chunks() {
    return layers.size();
  }

  /** Number of a chunk's first layer in the model. */
  public int firstLayer(int chunk) {
    return layers.subList(0, chunk).stream().mapToInt(Integer::intValue).sum();
  }

  /** The chunk of a layer of the model. */
  public int chunkOf(int layer) {
    int chunk = 0;
    for (int end = layers.getFirst(); end <= layer; end += layers.get(chunk)) {
      chunk++;
    }
    return chunk;
  }

  /** Layers of experts in each chunk. */
  public List<Integer> expertLayers(ModelConfig model) {
    List<Integer> found = new ArrayList<>();
    for (int chunk = 0; chunk < chunks(); chunk++) {
      int first = firstLayer(chunk);
      int experts = 0;
      for (int layer = first; layer < first + layers.get(chunk); layer++) {
        experts += model.isMoeLayer(layer) ? 1 : 0;
      }
      found.add(experts);
    }
    return found;
  }

  /** Each chunk in a few characters, for example {@code embedding+0-2 | 3-5 | 6+head}. */
  @Override
  public String toString() {
    List<String> texts = new ArrayList<>();
    for (int chunk = 0; chunk < chunks(); chunk++) {
      List<String> parts = new ArrayList<>();
      int first = firstLayer(chunk);
      int last = first + layers.get(chunk) - 1;
      if (chunk == 0) {
        parts.add("embedding");
      }
      if (last >= first) {
        parts.add(first == last ? "" + first : first + "-" + last);
      }
      if (chunk == chunks() - 1) {
        parts.add("head");
      }
      texts.add(parts.stream().collect(Collectors.joining("+")));
    }
    return String.join(" | ", texts);
  }
}
