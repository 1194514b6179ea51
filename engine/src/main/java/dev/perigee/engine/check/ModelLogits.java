package dev.perigee.engine.check;

import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.checkpoint.Safetensors;
import dev.perigee.engine.checkpoint.SafetensorsWriter;
import dev.perigee.engine.model.Model;
import dev.perigee.engine.tensor.Tensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Map;

/** Writes a model's logits for others to compare with. */
public final class ModelLogits {
  private ModelLogits() {}

  /**
   * Reads {@code input_ids} (I64 [B, T]) and writes {@code logits} (F32 [B, T, V]).
   *
   * @param folder a checkpoint in Hugging Face layout
   * @return the shape that was written
   */
  public static int[] write(Path folder, Path ids, Path out) throws IOException {
    Model model = ModelCheck.loadModel(folder, new CpuBackend());
    int vocabulary = model.config().vocabSize();
    ModelCheck.Ids in = ModelCheck.Ids.read(Safetensors.open(ids), "input_ids", vocabulary);
    Tensor logits =
        model.logits(in.ids(), in.batch(), in.length()).view(in.batch(), in.length(), vocabulary);
    SafetensorsWriter.write(out, Map.of("logits", logits), Map.of());
    return logits.shape();
  }
}
