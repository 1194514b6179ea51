package dev.perigee.trainer;

import dev.perigee.engine.backend.Backend;
import dev.perigee.engine.backend.CpuBackend;
import dev.perigee.engine.cuda.CudaBackend;
import dev.perigee.engine.cuda.Precision;
import dev.perigee.engine.cuda.driver.Cuda;
import dev.perigee.engine.cuda.nccl.GpuGroups;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.run.ExitCode;
import dev.perigee.run.RunConfig.Compute;
import java.util.Optional;
import java.util.function.Consumer;

/** What the ranks of a pod compute with, as the configuration asks. */
final class Accelerator {
  private final Compute compute;
  private final int devices;

  private Accelerator(Compute compute, int devices) {
    this.compute = compute;
    this.devices = devices;
  }

  /**
   * Looks whether this machine has what is asked for.
   *
   * @throws TrainerException {@code BAD_CONFIG} when it has not, with the reason
   */
  static Accelerator find(Compute compute) throws TrainerException {
    if (compute.backend() == Compute.Backend.cpu) {
      return new Accelerator(compute, 0);
    }
    Optional<String> why = Cuda.whyAbsent();
    if (why.isPresent()) {
      throw new TrainerException(
          ExitCode.BAD_CONFIG,
          "compute.backend: cuda, but "
              + why.get()
              + "; use a machine with one (resources.limits: nvidia.com/gpu), or backend: cpu");
    }
    return new Accelerator(compute, Cuda.count());
  }

  /** In words, for the log; empty for the CPU. */
  Optional<String> describe(int ranksInPod) {
    return compute.backend() == Compute.Backend.cpu
        ? Optional.empty()
        : Optional.of(
            "%d GPUs for %d ranks%s; products in %s"
                .formatted(
                    devices,
                    ranksInPod,
                    devices < ranksInPod ? ", which share them" : "",
                    compute.precision()));
  }

  /** A backend for the calling thread, which is a rank's. */
  Backend open(int placeInPod) {
    return switch (compute.backend()) {
      case cpu -> new CpuBackend();
      case cuda ->
          CudaBackend.open(
              placeInPod % devices,
              switch (compute.precision()) {
                case fp32 -> Precision.FP32;
                case bf16 -> Precision.BF16;
              });
    };
  }

  /**
   * The groups as they serve this backend's tensors. Every rank of the job calls this; ranks on
   * GPUs agree on how their tensors travel.
   *
   * @param said is told the way, if there is a choice
   */
  Fabric.Groups reaching(
      Fabric fabric, Fabric.Groups groups, Backend backend, Consumer<String> said) {
    if (backend instanceof CudaBackend gpu) {
      // Never closed: a rank that ends takes its process along, and a peer may have gone before.
      GpuGroups joined = GpuGroups.join(gpu, groups, fabric);
      if (fabric.world() > 1) {
        said.accept(
            "experts' rows, gradients, weights and what stages send travel " + joined.way());
      }
      return joined.groups();
    }
    return groups;
  }
}
