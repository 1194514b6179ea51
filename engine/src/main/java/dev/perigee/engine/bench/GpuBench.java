package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.Cuda;
import dev.perigee.engine.cuda.Device;
import dev.perigee.engine.cuda.DeviceArena;
import java.io.IOException;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.DoubleStream;

/**
 * The GPU's kernels beside PyTorch's on one machine in one run, as a Markdown table:
 *
 * <pre>java -cp ... dev.perigee.engine.bench.GpuBench [table.md [group...]]</pre>
 *
 * <p>Random normal bf16 numbers, shapes of Moonlight 16B-A3B and Kimi K2. A case is checked first;
 * then ours, PyTorch's, ours, PyTorch's are measured in turn, each 40 times after 100 ms of
 * warm-up, with events on the device. A case reads and writes several times the L2 cache, so no
 * repeat finds its data there.
 */
public final class GpuBench {
  private static final int BLOCKS = 2;

  /** Names {@link ReplayBench} among the groups. */
  private static final String REPLAY = "replay";

  private static final List<GpuCases> GROUPS =
      List.of(
          new ExpertCases(),
          new DecodeCases(),
          new PrefillCases(),
          new MuonCases(),
          new LossCases(),
          new MovementCases());

  private final GpuLab lab;
  private final StringBuilder out = new StringBuilder();

  /** Rates of PyTorch's dense product and of a copy in this run, by unit; empty without PyTorch. */
  private final Map<GpuCase.Unit, Double> ceilings = new LinkedHashMap<>();

  private GpuBench(GpuLab lab) {
    this.lab = lab;
  }

  /**
   * Runs all groups of cases, or those named after the file; prints the table, and writes it to the
   * file.
   */
  public static void main(String[] args) throws IOException {
    Optional<String> why = Cuda.whyAbsent();
    if (why.isPresent()) {
      System.err.println("bench gpu: " + why.get());
      System.exit(1);
    }
    List<String> wanted = Arrays.asList(args).subList(Math.min(1, args.length), args.length);
    List<String> known = new ArrayList<>(GROUPS.stream().map(GpuCases::name).toList());
    known.add(REPLAY);
    if (!known.containsAll(wanted)) {
      System.err.println("bench gpu: groups of cases are " + known + ", not " + wanted);
      System.exit(2);
    }
    if (args.length > 0) {
      BenchPage.check(Path.of(args[0]));
    }
    try (Device device = Device.open(0)) {
      GpuBench bench = new GpuBench(new GpuLab(device));
      Optional<TorchBaselines> torch = TorchBaselines.start();
      try (TorchBaselines t = torch.orElse(null)) {
        bench.head(t);
        for (GpuCases group : GROUPS) {
          if (wanted.isEmpty() || wanted.contains(group.name())) {
            bench.measure(group, t);
          }
        }
      }
      if (wanted.isEmpty() || wanted.contains(REPLAY)) {
        bench.out.append("\n").append(ReplayBench.table());
      }
      System.out.println(bench.out);
      if (args.length > 0) {
        BenchPage.write(Path.of(args[0]), bench.out.toString());
      }
    }
  }

  private void head(TorchBaselines torch) throws IOException {
    if (torch != null) {
      torch.prepare("ceilings", Map.of());
      double dense = GpuLab.median(torch.run("mm", GpuLab.REPEATS).ms());
      double copy = GpuLab.median(torch.run("copy", GpuLab.REPEATS).ms());
      ceilings.put(GpuCase.Unit.TERAFLOPS, 2.0 * 8192 * 8192 * 8192 / dense / 1e9);
      ceilings.put(GpuCase.Unit.GIGABYTES, 2.0 * (1L << 30) / copy / 1e6);
      out.append(
          String.format(
              Locale.ROOT,
              "%s, PyTorch %s, %s. Ceilings in this run: bf16 product 8192³ %.0f TF, copy %.0f"
                  + " GB/s.%n%n",
              lab.device.name(),
              torch.version(),
              LocalDate.now(ZoneOffset.UTC),
              ceilings.get(GpuCase.Unit.TERAFLOPS),
              ceilings.get(GpuCase.Unit.GIGABYTES)));
      out.append(
          "| case | ours: median (p10–p90) | rate | best baseline | ratio | ceiling | error |\n");
      out.append("|---|---|---|---|---|---|---|\n");
    } else {
      out.append(
          String.format(
              Locale.ROOT,
              "%s, %s. No baselines: this machine has no python3 with PyTorch.%n%n",
              lab.device.name(),
              LocalDate.now(ZoneOffset.UTC)));
      out.append("| case | ours: median (p10–p90) | rate | error |\n");
      out.append("|---|---|---|---|\n");
    }
  }

  private void measure(GpuCases group, TorchBaselines torch) throws IOException {
    try (DeviceArena arena = lab.device.arena()) {
      List<GpuCase> cases = group.prepare(lab, arena);
      lab.stream.synchronize();
      if (torch != null) {
        torch.prepare(group.name(), group.sizes());
      }
      for (GpuCase c : cases) {
        out.append(line(c, torch));
        System.err.println(out.substring(out.lastIndexOf("\n", out.length() - 2) + 1).strip());
      }
      if (torch != null) {
        torch.prepare("nothing", Map.of()); // its memory is free for the next group
      }
    }
  }

  private String line(GpuCase c, TorchBaselines torch) throws IOException {
    double[] ours = new double[0];
    Map<String, double[]> theirs = new LinkedHashMap<>();
    Map<String, String> names = new LinkedHashMap<>();
    String theirError = "";
    for (int block = 0; block < BLOCKS; block++) {
      ours = joined(ours, lab.milliseconds(c.ours()));
      for (String name : torch == null ? List.<String>of() : c.baselines()) {
        TorchBaselines.Measured m = torch.run(name, GpuLab.REPEATS);
        theirs.merge(name, m.ms(), GpuBench::joined);
        String kind = name.startsWith(c.name()) ? name.substring(c.name().length()).strip() : name;
        names.put(name, c.memory() == 0 ? kind : kind + ", " + gigabytes(m.memory()));
        theirError =
            m.error().map(e -> String.format(Locale.ROOT, " / %.1e", e)).orElse(theirError);
      }
    }
    Arrays.sort(ours);
    double mine = GpuLab.median(ours);
    String baselines =
        theirs.entrySet().stream()
            .map(e -> Map.entry(e.getKey(), GpuLab.median(e.getValue())))
            .sorted(Map.Entry.comparingByValue())
            .map(
                e ->
                    String.format(Locale.ROOT, "%.3f ms (%s)", e.getValue(), names.get(e.getKey())))
            .collect(Collectors.joining(", "));
    double baseline = theirs.values().stream().mapToDouble(GpuLab::median).min().orElse(Double.NaN);
    double rate = c.amount() / mine / c.unit().scale;
    String compared =
        torch == null
            ? ""
            : baselines.isEmpty()
                ? " |  | |"
                : String.format(Locale.ROOT, " | %s | %.2f |", baselines, baseline / mine);
    String ceiling =
        ceilings.containsKey(c.unit())
            ? String.format(Locale.ROOT, " %.0f %%", 100 * rate / ceilings.get(c.unit()))
            : "";
    return String.format(
        Locale.ROOT,
        "| %s | %.3f ms (%.3f–%.3f) | %.0f %s%s%s | %s%s |%n",
        c.memory() == 0 ? c.name() : c.name() + ", " + gigabytes(c.memory()),
        mine,
        ours[ours.length / 10],
        ours[ours.length * 9 / 10],
        rate,
        c.unit().text,
        compared,
        ceiling,
        Double.isNaN(c.error()) ? "" : String.format(Locale.ROOT, "%.1e", c.error()),
        theirError);
  }

  private static String gigabytes(long bytes) {
    return String.format(Locale.ROOT, "%.2f GB", bytes / 1e9);
  }

  private static double[] joined(double[] a, double[] b) {
    return DoubleStream.concat(Arrays.stream(a), Arrays.stream(b)).toArray();
  }
}
