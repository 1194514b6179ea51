package dev.perigee.engine.model;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** A checkpoint's tensors are not those of the model. The message lists the first differences. */
public final class WeightMismatchException extends IOException {
  private static final long serialVersionUID = 1L;
  private static final int SHOWN = 5;

  WeightMismatchException(Path checkpoint, List<String> differences) {
    super(
        "%s is not a checkpoint of this model: %s%s"
            .formatted(
                checkpoint,
                String.join("; ", differences.subList(0, Math.min(SHOWN, differences.size()))),
                differences.size() <= SHOWN
                    ? ""
                    : "; and " + (differences.size() - SHOWN) + " more differences"));
  }
}
