package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJob;
import java.util.List;
import java.util.Optional;

/** The other jobs of a job's namespace, as they were last seen. */
interface Neighbours {
  /** Nobody. */
  Neighbours NONE =
      new Neighbours() {
        @Override
        public Optional<PretrainJob> named(String name) {
          return Optional.empty();
        }

        @Override
        public List<PretrainJob> writingTo(String output) {
          return List.of();
        }
      };

  /** The job of that name. */
  Optional<PretrainJob> named(String name);

  /** All jobs with that {@link OutputPath}. */
  List<PretrainJob> writingTo(String output);
}
