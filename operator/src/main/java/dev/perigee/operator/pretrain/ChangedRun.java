package dev.perigee.operator.pretrain;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.api.PretrainJob;
import dev.perigee.run.RunConfig;
import dev.perigee.run.RunFiles;
import io.fabric8.kubernetes.api.model.ConfigMap;
import java.util.Objects;
import java.util.Optional;

/**
 * Whether pods run something else than their job now asks for. The schema lets a run change only
 * while it is suspended, but somebody may suspend, change and resume faster than the operator
 * looks.
 */
final class ChangedRun {
  private static final ObjectMapper JSON =
      new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);

  private ChangedRun() {}

  /**
   * Whether the specification is new to the operator and differs from what the pods were given. An
   * old specification is never compared, so a new operator that plans a little differently moves no
   * pod.
   */
  static boolean isNews(PretrainJob job, RunConfig planned, Optional<ConfigMap> given) {
    if (given.isEmpty()
        || job.getStatus() == null
        || Objects.equals(
            job.getStatus().observedGeneration(), job.getMetadata().getGeneration())) {
      return false;
    }
    try {
      RunConfig run =
          JSON.readValue(given.get().getData().get(RunFiles.RUN_CONFIG), RunConfig.class);
      return !(Objects.equals(run.mesh(), planned.mesh())
          && run.batchTokens() == planned.batchTokens()
          && run.steps() == planned.steps()
          && Objects.equals(run.optimizer(), planned.optimizer())
          && Objects.equals(run.schedule(), planned.schedule())
          && Objects.equals(run.checkpoint(), planned.checkpoint())
          && Objects.equals(run.evaluation(), planned.evaluation()));
    } catch (JsonProcessingException e) {
      return true; // not what this operator wrote: the pods cannot be running this job
    }
  }
}
