package dev.perigee.engine.checkpoint;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonInclude;
import dev.perigee.run.Mesh;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

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
 * @param data what else decides which text comes when, each part of it in words; null when nobody
 *     wrote it down
 */
@JsonIgnoreProperties(ignoreUnknown = true)
@JsonInclude(JsonInclude.Include.NON_NULL)
public record TrainerState(
    long step,
    long tokens,
    long nextSequence,
    long seed,
    int sequenceLength,
    long batchTokens,
    Mesh mesh,
    Map<String, String> data) {

  /** What is otherwise in a run that goes on from here, one line each; empty when nothing is. */
  List<String> changes(TrainerState now) {
    List<String> found = new ArrayList<>();
    if (now.seed != seed) {
      found.add(
          "seed is %d now and was %d: the data comes in another order".formatted(now.seed, seed));
    }
    if (now.sequenceLength != sequenceLength) {
      found.add(change("sequenceLength", "" + now.sequenceLength, "" + sequenceLength));
    }
    if (data != null && now.data != null) {
      Set<String> parts = new TreeSet<>(data.keySet());
      parts.addAll(now.data.keySet());
      for (String part : parts) {
        String then = data.getOrDefault(part, "nothing");
        String since = now.data.getOrDefault(part, "nothing");
        if (!since.equals(then)) {
          found.add(change(part, since, then));
        }
      }
    }
    return found;
  }

  private static String change(String what, String now, String then) {
    return "%s is %s now and was %s: texts may come twice or never".formatted(what, now, then);
  }
}
