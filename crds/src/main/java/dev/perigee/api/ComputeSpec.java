package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import dev.perigee.run.RunConfig;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.ValidationRule;

/** What the pods compute with. */
@JsonInclude(JsonInclude.Include.NON_NULL)
@ValidationRule(
    value = "self.backend == 'cuda' || !has(self.precision) || self.precision == 'fp32'",
    message = "compute.precision: bf16 needs backend: cuda; the CPU computes in fp32",
    fieldPath = ".precision")
public record ComputeSpec(
    @JsonPropertyDescription(
            "cpu: one thread a rank. cuda: NVIDIA GPUs, rank i of a pod on the pod's GPU i; ask for"
                + " as many with nvidia.com/gpu in resources.limits. A pod without a GPU ends with"
                + " an error that is not retried.")
        @Default("cpu")
        RunConfig.Compute.Backend backend,
    @JsonPropertyDescription(
            "What matrix products multiply; sums, master weights and everything else are float32."
                + " When absent, bf16 with cuda and fp32 with cpu.")
        RunConfig.Compute.Precision precision) {

  /** The same in the words of the contract. */
  public RunConfig.Compute toCompute() {
    RunConfig.Compute.Precision usual =
        backend == RunConfig.Compute.Backend.cuda
            ? RunConfig.Compute.Precision.bf16
            : RunConfig.Compute.Precision.fp32;
    return new RunConfig.Compute(backend, precision == null ? usual : precision);
  }
}
