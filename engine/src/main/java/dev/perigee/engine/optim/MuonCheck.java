package dev.perigee.engine.optim;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.Rates;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.model.Parameter;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Compares Muon with recorded steps of another implementation: a folder with {@code muon.json} (the
 * constants, as {@code torch.optim.Muon} names them) and {@code muon.safetensors} (for matrix i the
 * weights {@code i.w0}, the gradient {@code i.g0}, the weights after it {@code i.w1}, and so on).
 */
public final class MuonCheck {
  /** The file of constants. */
  public static final String CONSTANTS = "muon.json";

  /** The file of recorded steps. */
  public static final String STEPS = "muon.safetensors";

  private MuonCheck() {}

  /**
   * How one update compares.
   *
   * @param error ‖our update − theirs‖ / ‖theirs‖, Frobenius
   */
  public record Update(int matrix, int rows, int columns, int step, double error) {
    @Override
    public String toString() {
      return "Muon update %d of matrix %d, %d × %d".formatted(step, matrix, rows, columns);
    }
  }

  /**
   * Takes every recorded matrix through its gradients.
   *
   * @throws IOException when a file is missing or not as described
   */
  public static List<Update> run(Path folder, Backend backend) throws IOException {
    RunConfig.Optimizer optimizer = constants(folder.resolve(CONSTANTS));
    double learningRate = read(folder.resolve(CONSTANTS)).path("lr").asDouble();
    Safetensors recorded = Safetensors.open(folder.resolve(STEPS));
    List<Update> updates = new ArrayList<>();
    for (int i = 0; recorded.contains(i + ".w0"); i++) {
      Tensor first = recorded.read(i + ".w0");
      Tensor weight = backend.zeros(first.shape());
      weight.assign(first);
      Tensor gradient = backend.zeros(first.shape());
      Parameter parameter =
          new Parameter(i + ".w", weight, gradient, Parameter.Rule.MATRIX, Parameter.Sharing.DENSE);
      Muon muon =
          new Muon(
              parameter,
              optimizer,
              backend,
              new NewtonSchulz(
                  backend,
                  optimizer.muon().newtonSchulzSteps(),
                  optimizer.muon().newtonSchulzCoefficients()),
              new Muon.Scratch(backend));
      for (int step = 0; recorded.contains(i + ".g" + step); step++) {
        float[] before = weight.onHost().floats().clone();
        gradient.assign(recorded.read(i + ".g" + step));
        muon.update(gradient, new Rates.Values(learningRate, 1, 1, 1), backend.rates());
        float[] after = weight.onHost().floats();
        Tensor theirsBefore = recorded.read(i + ".w" + step);
        Tensor theirsAfter = recorded.read(i + ".w" + (step + 1));
        double difference = 0;
        double size = 0;
        for (int k = 0; k < before.length; k++) {
          double ours = after[k] - before[k];
          double theirs = theirsAfter.floats()[k] - theirsBefore.floats()[k];
          difference += (ours - theirs) * (ours - theirs);
          size += theirs * theirs;
        }
        updates.add(
            new Update(i, weight.dim(0), weight.dim(1), step + 1, Math.sqrt(difference / size)));
      }
    }
    return updates;
  }

  private static RunConfig.Optimizer constants(Path file) throws IOException {
    JsonNode json = read(file);
    for (String field : List.of("lr", "momentum", "weight_decay", "ns_steps")) {
      if (!json.path(field).isNumber()) {
        throw new IOException(file + ": " + field + " is not a number");
      }
    }
    if (!json.path("adjust_lr_fn").asText().equals("match_rms_adamw")) {
      throw new IOException(
          file + ": adjust_lr_fn is " + json.path("adjust_lr_fn") + "; expected match_rms_adamw");
    }
    RunConfig.Optimizer.Muon published = RunConfig.Optimizer.Muon.DEFAULT;
    return new RunConfig.Optimizer(
        RunConfig.Optimizer.Kind.MuonClip,
        json.path("weight_decay").asDouble(),
        0,
        new RunConfig.Optimizer.Muon(
            json.path("momentum").asDouble(),
            json.path("nesterov").asBoolean(),
            json.path("ns_steps").asInt(),
            published.newtonSchulzCoefficients(),
            published.updateRms()),
        RunConfig.Optimizer.AdamW.DEFAULT,
        RunConfig.Optimizer.QkClip.DEFAULT,
        0);
  }

  private static JsonNode read(Path file) throws IOException {
    return new ObjectMapper().readTree(file.toFile());
  }
}
