package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import dev.perigee.run.Mesh;

/**
 * What a trainer has to know besides tensors to go on exactly where it stopped (file {@code
 * trainer/state.json}). Nothing in it depends on the mesh: any mesh can go on from it.
 *
 * @param step optimizer steps done
 * @param tokens tokens trained on
 * @param nextSequence number of the first training sequence that has not been used
 * @param seed that the data's order was drawn with
 * @param sequenceLength tokens of a sequence
 * @param batchTokens tokens of a step
 * @param mesh that wrote the checkpoint
 */
@JsonIgnoreProperties(ignoreUnknown = true)
public record TrainerState(
    long step,
    long tokens,
    long nextSequence,
    long seed,
    int sequenceLength,
    long batchTokens,
    Mesh mesh) {}
