package dev.perigee.engine.check;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.checkpoint.CheckpointFormatException;
import dev.perigee.engine.checkpoint.HfConfig;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.generate.Generator;
import dev.perigee.engine.generate.Generator.Sampling;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.optim.MuonCheck;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Compares the engine with another implementation. A folder holds a checkpoint in Hugging Face
 * layout and, each of them optional:
 *
 * <ul>
 *   <li>{@code io.safetensors}: {@code input_ids} [B, T] and their {@code logits}; {@code greedy}
 *       [1, n], a prompt of {@value #PROMPT} tokens and its greedy continuation;
 *   <li>{@code meta.json}: {@code loss}, the mean next-token cross-entropy over B · (T − 1)
 *       positions;
 *   <li>{@code grads.safetensors}: the gradient of that loss for every parameter;
 *   <li>{@code muon.json} and {@code muon.safetensors}: steps of Muon, see {@link MuonCheck}.
 * </ul>
 */
public final class ModelCheck {
  private static final int PROMPT = 8;
  private static final double LOGITS = 1e-4;
  private static final double GRADIENT = 1e-3;
  private static final double MUON = 3e-2; // the other implementation may iterate in bfloat16
  private static final Pattern EXPERT =
      Pattern.compile("(.*\\.mlp\\.experts\\.)(\\d+)\\.(gate|up|down)_proj\\.weight");
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path folder;
  private final Model model;
  private final List<CheckRow> rows = new ArrayList<>();

  private ModelCheck(Path folder, Model model) {
    this.folder = folder;
    this.model = model;
  }

  /** Compares on the CPU; one row for each figure. */
  public static List<CheckRow> run(Path folder) throws IOException {
    return run(folder, new CpuBackend());
  }

  /** Compares on a backend; one row for each figure. */
  public static List<CheckRow> run(Path folder, Backend backend) throws IOException {
    ModelCheck check = new ModelCheck(folder, loadModel(folder, backend));
    if (Files.exists(folder.resolve("io.safetensors"))) {
      Safetensors io = Safetensors.open(folder.resolve("io.safetensors"));
      check.batch(io);
      check.greedy(io);
    } else {
      check.rows.add(CheckRow.absent("io.safetensors: logits, loss, gradients, greedy tokens"));
    }
    check.muon(backend);
    return check.rows;
  }

  /** The model of a folder in Hugging Face layout. */
  static Model loadModel(Path folder, Backend backend) throws IOException {
    Path file = folder.resolve(HfConfig.FILE);
    HfConfig config = HfConfig.read(file);
    Safetensors weights = Safetensors.open(folder);
    // Before memory is taken for as many layers as the file claims.
    int layers = config.model().numHiddenLayers();
    if (!weights.contains("model.layers.%d.input_layernorm.weight".formatted(layers - 1))) {
      throw new CheckpointFormatException(
          file,
          "num_hidden_layers: %d; %s holds no layer %d"
              .formatted(layers, weights.path(), layers - 1));
    }
    Model model = Model.create(config.model(), backend, Collectives.solo());
    model.load(weights);
    return model;
  }

  /** Token ids [B, T] of a file. */
  @SuppressWarnings("ArrayRecordComponent") // never compared
  record Ids(int[] ids, int batch, int length) {
    static Ids read(Safetensors file, String name, int vocabulary) throws IOException {
      if (!file.contains(name)) {
        throw new CheckpointFormatException(file.path(), "holds no " + name + ", I64 [B, T]");
      }
      int[] shape = file.shape(name);
      long[] values = file.readWhole(name);
      if (shape.length != 2 || values.length == 0) {
        throw new CheckpointFormatException(
            file.path(), name + " has shape " + Arrays.toString(shape) + "; expected [B, T]");
      }
      int[] ids = new int[values.length];
      for (int i = 0; i < ids.length; i++) {
        if (values[i] < 0 || values[i] >= vocabulary) {
          throw new CheckpointFormatException(
              file.path(),
              "%s holds token %d; the model's vocabulary is %d"
                  .formatted(name, values[i], vocabulary));
        }
        ids[i] = (int) values[i];
      }
      return new Ids(ids, shape[0], shape[1]);
    }

    /** Each token's next one, −1 for the last of a sequence. */
    int[] nextTokens() {
      int[] targets = new int[ids.length];
      for (int i = 0; i < ids.length; i++) {
        targets[i] = i % length == length - 1 ? -1 : ids[i + 1];
      }
      return targets;
    }
  }

  private void batch(Safetensors io) throws IOException {
    Ids in = Ids.read(io, "input_ids", model.config().vocabSize());
    if (io.contains("logits")) {
      Tensor found = model.logits(in.ids, in.batch, in.length);
      Tensor expected = Tensor.zeros(in.batch, in.length, model.config().vocabSize());
      io.read("logits", expected);
      rows.add(new CheckRow("logits", CheckRow.relative(found, expected), LOGITS));
    } else {
      rows.add(CheckRow.absent("logits"));
    }
    int positions = in.batch * (in.length - 1);
    model.zeroGradients();
    double loss =
        model.forwardBackward(in.ids, in.nextTokens(), in.batch, in.length, 1.0 / positions)
            / positions;
    Path meta = folder.resolve("meta.json");
    JsonNode expected = Files.exists(meta) ? JSON.readTree(meta.toFile()).path("loss") : null;
    rows.add(
        expected == null || !expected.isNumber()
            ? CheckRow.absent("loss")
            : new CheckRow(
                "loss", Math.abs(loss - expected.asDouble()) / expected.asDouble(), LOGITS));
    gradients();
  }

  private void gradients() throws IOException {
    Path file = folder.resolve("grads.safetensors");
    if (!Files.exists(file)) {
      rows.add(CheckRow.absent("gradients"));
      return;
    }
    Safetensors expected = Safetensors.open(file);
    Map<String, Tensor> stacks = new HashMap<>();
    for (Parameter p : model.parameters()) {
      String row = "gradient " + p.name();
      Tensor e = expectedGradient(expected, p, stacks);
      rows.add(
          e == null
              ? CheckRow.absent(row)
              : new CheckRow(row, CheckRow.relative(p.gradient(), e), GRADIENT));
    }
  }

  /**
   * The gradient under the parameter's own name, or an expert's part of transformers 5's stacks:
   * {@code experts.gate_up_proj} [E, 2F, H] with gate before up, {@code experts.down_proj} [E, H,
   * F]. Null when there is neither.
   */
  private static Tensor expectedGradient(
      Safetensors expected, Parameter p, Map<String, Tensor> stacks) throws IOException {
    if (expected.contains(p.name())) {
      Tensor e = Tensor.zeros(p.gradient().shape());
      expected.read(p.name(), e);
      return e;
    }
    Matcher expert = EXPERT.matcher(p.name());
    if (!expert.matches()) {
      return null;
    }
    boolean down = expert.group(3).equals("down");
    String stack = expert.group(1) + (down ? "down_proj" : "gate_up_proj");
    if (!expected.contains(stack)) {
      return null;
    }
    if (!stacks.containsKey(stack)) {
      stacks.put(stack, expected.read(stack));
    }
    Tensor all = stacks.get(stack);
    int parts = down ? 1 : 2;
    int index = Integer.parseInt(expert.group(2)) * parts + (expert.group(3).equals("up") ? 1 : 0);
    int rows = p.gradient().dim(0);
    int width = p.gradient().dim(1);
    if ((index + 1) * rows * width > all.size()) {
      throw new CheckpointFormatException(
          expected.path(), stack + " has shape " + Arrays.toString(all.shape()));
    }
    return all.view(all.size() / width, width).slice(index * rows, rows);
  }

  private void greedy(Safetensors io) throws IOException {
    if (!io.contains("greedy")) {
      rows.add(CheckRow.absent("greedy tokens that differ"));
      return;
    }
    Ids greedy = Ids.read(io, "greedy", model.config().vocabSize());
    if (greedy.batch != 1 || greedy.length <= PROMPT) {
      throw new CheckpointFormatException(
          io.path(), "greedy: expected one row of more than " + PROMPT + " tokens");
    }
    int[] prompt = Arrays.copyOf(greedy.ids, PROMPT);
    int[] found =
        new Generator(model, Collectives.solo())
            .generate(new int[][] {prompt}, greedy.length - PROMPT, -1, Sampling.GREEDY)[0];
    int different = 0;
    for (int i = 0; i < found.length; i++) {
      different += found[i] == greedy.ids[PROMPT + i] ? 0 : 1;
    }
    rows.add(new CheckRow("greedy tokens that differ", different, 0));
  }

  private void muon(Backend backend) throws IOException {
    if (!Files.exists(folder.resolve(MuonCheck.STEPS))) {
      rows.add(CheckRow.absent("Muon updates"));
      return;
    }
    for (MuonCheck.Update update : MuonCheck.run(folder, backend)) {
      rows.add(new CheckRow(update.toString(), update.error(), MUON));
    }
  }
}
