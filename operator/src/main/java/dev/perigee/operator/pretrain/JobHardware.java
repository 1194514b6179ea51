package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJobSpec;
import dev.perigee.api.ResourcesSpec;
import dev.perigee.plan.Gpu;
import dev.perigee.plan.Hardware;
import dev.perigee.run.RunConfig;
import io.fabric8.kubernetes.api.model.Quantity;
import java.util.Map;
import java.util.Optional;

/** What a job's ranks run on, from what its pods ask for. */
public final class JobHardware {
  private static final String GPU = "nvidia.com/gpu";

  /** Set on nodes by NVIDIA's GPU feature discovery. */
  private static final String PRODUCT = "nvidia.com/gpu.product";

  private JobHardware() {}

  /**
   * GPUs when the pods ask for some or compute on them, however they get them, of the kind that the
   * node selector names; else threads, with their share of the pod's memory limit.
   */
  public static Hardware of(PretrainJobSpec spec) {
    int ranksPerPod = Math.max(1, spec.parallelism().ranksPerPod());
    ResourcesSpec resources = spec.resources();
    boolean cuda = spec.compute().backend() == RunConfig.Compute.Backend.cuda;
    if (!cuda && asked(resources, GPU).isEmpty()) {
      Long memory =
          Optional.ofNullable(resources)
              .map(ResourcesSpec::limits)
              .map(limits -> limits.get("memory"))
              .map(limit -> Quantity.getAmountInBytes(limit).longValue() / ranksPerPod)
              .orElse(null);
      return new Hardware.Cpu(memory, ranksPerPod);
    }
    Map<String, String> selector = spec.podOverrides().nodeSelector();
    return Optional.ofNullable(selector)
        .map(labels -> labels.get(PRODUCT))
        .flatMap(Gpu::find)
        .<Hardware>map(gpu -> new Hardware.Gpus(gpu, ranksPerPod))
        .orElse(new Hardware.UnknownGpus(ranksPerPod));
  }

  private static Optional<Quantity> asked(ResourcesSpec resources, String name) {
    if (resources == null) {
      return Optional.empty();
    }
    return Optional.ofNullable(resources.limits())
        .map(limits -> limits.get(name))
        .or(() -> Optional.ofNullable(resources.requests()).map(requests -> requests.get(name)));
  }
}
