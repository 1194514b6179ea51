package dev.perigee.engine.model;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.model.Parameter.Rule;
import dev.perigee.engine.model.Parameter.Sharing;
import dev.perigee.engine.tensor.Tensor;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Where layers get their weights from. Weights lie back to back in large chunks, gradients alike,
 * so that a gradient reduction sends few large messages. What a layer uses as one matrix may be
 * several parameters: gate and up projections are stacked, and so are experts.
 */
final class ParameterStore {
  private static final int CHUNK = 1 << 20;

  /** Weights and gradients back to back, filled from the front. */
  private static final class Chunk {
    final Tensor values;
    final Tensor gradients;
    int used;

    Chunk(Backend backend, int size) {
      values = backend.weights(size);
      gradients = backend.zeros(size);
    }
  }

  private final Backend backend;
  private final Map<Sharing, List<Chunk>> chunks = new EnumMap<>(Sharing.class);
  private final List<Parameter> parameters = new ArrayList<>();
  private final Map<String, Tensor> buffers = new LinkedHashMap<>();

  ParameterStore(Backend backend) {
    this.backend = backend;
    for (Sharing sharing : Sharing.values()) {
      chunks.put(sharing, new ArrayList<>());
    }
  }

  /** A matrix [out, in] that Muon updates. */
  Weight matrix(String name, int out, int in) {
    return declare(name, Rule.MATRIX, out, in);
  }

  /** A matrix that AdamW updates: the embedding and the head. */
  Weight table(String name, int rows, int width) {
    return declare(name, Rule.ELEMENTWISE, rows, width);
  }

  /** A norm's gains, which start at one. */
  Weight gains(String name, int width) {
    Weight gains = declare(name, Rule.ELEMENTWISE, width);
    backend.fill(gains.value(), 1);
    return gains;
  }

  private Weight declare(String name, Rule rule, int... shape) {
    Weight weight = allocate(Sharing.DENSE, shape);
    parameters.add(new Parameter(name, weight.value(), weight.gradient(), rule, Sharing.DENSE));
    return weight;
  }

  /** {@code prefix.gate_proj} over {@code prefix.up_proj}, [2 · width, in]. */
  Weight gateUp(String prefix, int width, int in) {
    Weight both = allocate(Sharing.DENSE, 2 * width, in);
    part(prefix + ".gate_proj.weight", Sharing.DENSE, both, 0, width, in);
    part(prefix + ".up_proj.weight", Sharing.DENSE, both, width, width, in);
    return both;
  }

  /** Gate and up projections of the experts from {@code first}, [count, 2 · width, in]. */
  Weight expertGateUps(String prefix, int first, int count, int width, int in) {
    Weight all = allocate(Sharing.EXPERT, count, 2 * width, in);
    Weight rows = rows(all, in);
    for (int e = 0; e < count; e++) {
      String name = prefix + "." + (first + e);
      part(name + ".gate_proj.weight", Sharing.EXPERT, rows, 2 * e * width, width, in);
      part(name + ".up_proj.weight", Sharing.EXPERT, rows, (2 * e + 1) * width, width, in);
    }
    return all;
  }

  /** Down projections of the experts from {@code first}, [count, out, width]. */
  Weight expertDowns(String prefix, int first, int count, int out, int width) {
    Weight all = allocate(Sharing.EXPERT, count, out, width);
    Weight rows = rows(all, width);
    for (int e = 0; e < count; e++) {
      String name = prefix + "." + (first + e) + ".down_proj.weight";
      part(name, Sharing.EXPERT, rows, e * out, out, width);
    }
    return all;
  }

  private static Weight rows(Weight all, int width) {
    int rows = all.value().size() / width;
    return new Weight(all.value().view(rows, width), all.gradient().view(rows, width));
  }

  private void part(String name, Sharing sharing, Weight whole, int first, int rows, int width) {
    Tensor value = whole.value().slice(first, rows).view(rows, width);
    Tensor gradient = whole.gradient().slice(first, rows).view(rows, width);
    parameters.add(new Parameter(name, value, gradient, Rule.MATRIX, sharing));
  }

  /** A tensor that is saved with the weights but not trained. */
  Tensor buffer(String name, int... shape) {
    Tensor buffer = backend.zeros(shape);
    buffers.put(name, buffer);
    return buffer;
  }

  private Weight allocate(Sharing sharing, int... shape) {
    int n = 1;
    for (int d : shape) {
      n = Math.multiplyExact(n, d);
    }
    List<Chunk> list = chunks.get(sharing);
    if (list.isEmpty() || list.getLast().values.size() - list.getLast().used < n) {
      list.add(new Chunk(backend, Math.max(CHUNK, n)));
    }
    Chunk chunk = list.getLast();
    Weight weight =
        new Weight(
            chunk.values.slice(chunk.used, n).view(shape),
            chunk.gradients.slice(chunk.used, n).view(shape));
    chunk.used += n;
    return weight;
  }

  /** All parameters in the order of their declaration. */
  List<Parameter> parameters() {
    return Collections.unmodifiableList(parameters);
  }

  /** All buffers by name. */
  Map<String, Tensor> buffers() {
    return Collections.unmodifiableMap(buffers);
  }

  /** All gradients of that sharing, in few large tensors. */
  List<Tensor> gradients(Sharing sharing) {
    return chunks.get(sharing).stream().map(c -> c.gradients.slice(0, c.used)).toList();
  }
}
