package dev.perigee.operator.pretrain;

import dev.perigee.api.PretrainJobSpec;
import dev.perigee.api.ResourcesSpec;
import dev.perigee.plan.Gpu;
import dev.perigee.plan.Hardware;
import dev.perigee.run.RunConfig;
import io.fabric8.kubernetes.api.model.Quantity;
import java.math.BigDecimal;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** What a job's ranks run on, from what its pods ask for. */
public final class JobHardware {
  private static final String GPU = "nvidia.com/gpu";

  /** Set on nodes by NVIDIA's GPU feature discovery. */
  private static final String PRODUCT = "nvidia.com/gpu.product";

  /** What an API server takes as an amount of a pod's resource: it is not negative. */
  private static final Pattern AMOUNT =
      Pattern.compile(
          "\\+?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]{1,3})?");

  private JobHardware() {}

  /** Amounts that no pod can ask for, one line each; empty when all can be. */
  static List<String> problems(ResourcesSpec resources) {
    if (resources == null) {
      return List.of();
    }
    return Stream.concat(
            problems("requests", resources.requests()), problems("limits", resources.limits()))
        .toList();
  }

  private static Stream<String> problems(String field, Map<String, Quantity> amounts) {
    return amounts == null
        ? Stream.empty()
        : amounts.entrySet().stream()
            .filter(entry -> !isAmount(entry.getValue()))
            .map(
                entry ->
                    ("resources.%s.%s: %s is not an amount; expected a number of 0 or more, with or"
                            + " without a unit, for example 500m, 2, 1.5Gi or 2G")
                        .formatted(field, entry.getKey(), entry.getValue()));
  }

  private static boolean isAmount(Quantity quantity) {
    return AMOUNT.matcher(quantity.toString()).matches();
  }

  /**
   * GPUs when the pods ask for some or compute on them, however they get them, of the kind that the
   * node selector names; else threads, with their share of the pod's memory limit. GPUs compute in
   * bf16 unless the job computes on them and asks for fp32.
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
              .filter(JobHardware::isAmount)
              .map(limit -> bytes(limit) / ranksPerPod)
              .orElse(null);
      return new Hardware.Cpu(memory, ranksPerPod);
    }
    Hardware.Precision precision =
        cuda
            ? Hardware.Precision.of(spec.compute().toCompute().precision())
            : Hardware.Precision.BF16;
    Map<String, String> selector = spec.podOverrides().nodeSelector();
    return Optional.ofNullable(selector)
        .map(labels -> labels.get(PRODUCT))
        .flatMap(Gpu::find)
        .<Hardware>map(gpu -> new Hardware.Gpus(gpu, ranksPerPod, precision))
        .orElse(new Hardware.UnknownGpus(ranksPerPod, precision));
  }

  private static long bytes(Quantity amount) {
    BigDecimal most = BigDecimal.valueOf(Long.MAX_VALUE);
    return Quantity.getAmountInBytes(amount).min(most).longValue();
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
