package dev.perigee.api;

import com.fasterxml.jackson.annotation.JsonPropertyDescription;
import dev.perigee.run.RunConfig;
import io.fabric8.generator.annotation.Default;
import io.fabric8.generator.annotation.Max;
import io.fabric8.generator.annotation.Min;
import io.fabric8.generator.annotation.Size;
import io.fabric8.generator.annotation.ValidationRule;
import java.util.List;

/** What a rank keeps of its activations, where and how. Each saves memory and costs time. */
@ValidationRule(
    value = "!has(self.recompute) || self.recompute.all(x, self.recompute.exists_one(y, y == x))",
    message = "memory.recompute: lists something twice",
    fieldPath = ".recompute")
@ValidationRule(
    value = "!has(self.fp8) || self.fp8.all(x, self.fp8.exists_one(y, y == x))",
    message = "memory.fp8: lists something twice",
    fieldPath = ".fp8")
public record MemorySpec(
    @JsonPropertyDescription(
            "What is computed again in backward instead of kept: norms (their results), swiGlu (the"
                + " gated product), latentProjections (queries, keys and values from their latents),"
                + " expertDown (the routed experts' results). Bitwise the same training.")
        @Default("[]")
        @Size(max = 4)
        List<RunConfig.Memory.Recompute> recompute,
    @JsonPropertyDescription(
            "What is kept in eight bits (E4M3, a scale for each 128 numbers) for backward:"
                + " expertInput (rows at their routed experts), swiGluInput (gate and up"
                + " projections). Gradients are a little less exact.")
        @Default("[]")
        @Size(max = 2)
        List<RunConfig.Memory.Fp8> fp8,
    @JsonPropertyDescription(
            "Whether activations that wait for several other micro-batches go to host memory"
                + " meanwhile. Needs a pipeline.")
        @Default("false")
        Boolean offload,
    @JsonPropertyDescription(
            "Gradients, and later weights, that ranks exchange in one go beside their computing, in"
                + " MiB. Small buckets begin earlier and take less memory; large ones need fewer"
                + " messages.")
        @Default("32")
        @Min(1)
        @Max(4096)
        Integer bucketMebibytes) {}
