package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Routine;
import dev.perigee.engine.tensor.Indices;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ModelConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * What generation keeps of the tokens so far: for each layer, sequence and position the normalised
 * latent and the rotated shared key. Where the next token goes is numbers in slots, so that a step
 * is the same work every time, and a {@link Routine}.
 *
 * <p>B sequences, P positions, C = latent and rotated key, V vocabulary.
 */
public final class LatentCache implements AutoCloseable {
  /** Positions come in pages, which decode kernels read. */
  private static final int PAGE = 64;

  private final Backend backend;
  private final List<Tensor> layers_BPC = new ArrayList<>();
  private final int batch;
  private final int positions;
  private final int room;
  private final Indices.Slot ids_B;
  private final Indices.Slot position_B;
  private final Indices.Slot row_B;
  private final Indices.Slot length_B;
  private final Tokens tokens;
  private final Tensor logits_BV;
  private int filled;
  private int reach;
  private Routine routine; // null until the first step

  LatentCache(ModelConfig config, int layers, Backend backend, int batch, int positions) {
    this.backend = backend;
    this.batch = batch;
    this.positions = positions;
    this.room = Math.multiplyExact(Math.ceilDiv(positions, PAGE), PAGE);
    for (int layer = 0; layer < layers; layer++) {
      layers_BPC.add(
          backend.activations(batch, room, config.kvLoraRank() + config.qkRopeHeadDim()));
    }
    ids_B = backend.slot(batch);
    position_B = backend.slot(batch);
    row_B = backend.slot(batch);
    length_B = backend.slot(batch);
    tokens = new Tokens(batch, 1, position_B, /* recording= */ false);
    logits_BV = backend.zeros(batch, config.vocabSize());
  }

  /** Sequences that it is for. */
  public int batch() {
    return batch;
  }

  /** Positions that hold a token. */
  public int filled() {
    return filled;
  }

  /** Positions that there is room for. */
  public int positions() {
    return positions;
  }

  /** Begins a step with one token of each sequence. */
  void put(int[] ids) {
    int[] at = new int[batch];
    Arrays.fill(at, filled);
    position_B.set(at);
    Arrays.fill(at, filled + 1);
    length_B.set(at);
    Arrays.setAll(at, b -> b * room + filled);
    row_B.set(at);
    ids_B.set(ids);
    int needed = reach(filled + 1);
    if (needed != reach) { // another size is other work
      reach = needed;
      close();
    }
  }

  /** How far attention looks: a number of few, at most a quarter more than it must. */
  private int reach(int length) {
    int pages = Math.ceilDiv(length, PAGE);
    int quarter = Math.max(1, Integer.highestOneBit(pages) / 4);
    return Math.min(room, PAGE * quarter * Math.ceilDiv(pages, quarter));
  }

  /** Does a step's work, which is the same until the cache reaches further. */
  void repeat(Runnable step) {
    if (routine == null) {
      routine = backend.routine(step);
    }
    routine.run();
  }

  /** The tokens of a step. */
  Indices ids() {
    return ids_B;
  }

  /** The same as {@link Tokens}. */
  Tokens tokens() {
    return tokens;
  }

  /** Which row of {@link #layer_BPC}, over all sequences, a step's token takes. */
  Indices rows() {
    return row_B;
  }

  /** Positions of each sequence, the step's token included. */
  Indices lengths() {
    return length_B;
  }

  /** No sequence is longer. */
  int reach() {
    return reach;
  }

  /** Where a step leaves the logits of the next tokens. */
  Tensor logits_BV() {
    return logits_BV;
  }

  /** Of one of the rank's own layers, by its place among them. */
  Tensor layer_BPC(int layer) {
    return layers_BPC.get(layer);
  }

  void advance() {
    filled++;
  }

  /** Forgets what the backend has recorded of a step; the cache can still be used. */
  @Override
  public void close() {
    if (routine != null) {
      routine.close();
      routine = null;
    }
  }
}
