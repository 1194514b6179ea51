package dev.perigee.plan;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * GPUs that the planner knows, one of a node of eight. Rates are the vendor's for dense products
 * and one direction of a link; what of them a program reaches is {@link Calibration}'s.
 *
 * @param name as it stands in node labels, for example {@code NVIDIA-H100-80GB-HBM3}
 * @param computeCapability ten times the major version plus the minor
 * @param memoryBytes what the driver reports
 * @param bf16Flops operations a second of bf16 products with float32 sums, without sparsity
 * @param memoryBytesPerSecond of its own memory
 * @param nodeLinkBytesPerSecond to the other GPUs of a node (NVLink), each way
 * @param networkBytesPerSecond to other nodes, its share of the node's adapters, each way
 * @param hostBytesPerSecond to the host's memory (PCI Express), each way
 */
public record Gpu(
    String name,
    int computeCapability,
    long memoryBytes,
    double bf16Flops,
    double memoryBytesPerSecond,
    double nodeLinkBytesPerSecond,
    double networkBytesPerSecond,
    double hostBytesPerSecond) {

  /** GPUs of a usual node. */
  public static final int PER_NODE = 8;

  private static final long MIB = 1 << 20;

  /**
   * Sources: NVIDIA's data sheets; memory as nvidia-smi prints it. One 400 Gb/s adapter for each
   * GPU is usual for Hopper (the Kimi K2 report, section 2.4, for H800), 200 Gb/s for A100.
   */
  private static final List<Gpu> KNOWN =
      List.of(
          new Gpu("A100", 80, 81_920 * MIB, 312e12, 2.04e12, 300e9, 25e9, 32e9),
          new Gpu("H20", 90, 97_871 * MIB, 148e12, 4.0e12, 450e9, 50e9, 64e9),
          new Gpu("H100", 90, 81_559 * MIB, 989.4e12, 3.35e12, 450e9, 50e9, 64e9),
          new Gpu("H800", 90, 81_559 * MIB, 989.4e12, 3.35e12, 200e9, 50e9, 64e9),
          new Gpu("H200", 90, 143_771 * MIB, 989.4e12, 4.8e12, 450e9, 50e9, 64e9),
          new Gpu("B200", 100, 183_359 * MIB, 2250e12, 7.7e12, 900e9, 50e9, 64e9));

  /** All of them. */
  public static List<Gpu> known() {
    return KNOWN;
  }

  /** Their names, for a message. */
  public static String names() {
    return String.join(", ", KNOWN.stream().map(Gpu::name).toList());
  }

  /**
   * The GPU of a name: a short one, or a product label of a node ({@code nvidia.com/gpu.product}).
   * A part of a GPU (MIG) and a shared one are not known.
   */
  public static Optional<Gpu> find(String name) {
    List<String> words = Arrays.asList(name.toUpperCase(Locale.ROOT).split("[-_ ]"));
    if (words.contains("MIG") || words.contains("SHARED")) {
      return Optional.empty();
    }
    return KNOWN.stream().filter(gpu -> words.contains(gpu.name)).findFirst();
  }

  /** The same on links of other speeds. */
  public Gpu withLinks(double nodeLink, double network) {
    return new Gpu(
        name,
        computeCapability,
        memoryBytes,
        bf16Flops,
        memoryBytesPerSecond,
        nodeLink,
        network,
        hostBytesPerSecond);
  }
}
