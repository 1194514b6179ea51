package dev.perigee.run;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/** Model shapes that a manifest can name. */
public final class ModelPresets {
  private static final Map<String, ModelConfig> PRESETS = presets();

  private ModelPresets() {}

  /** The shape of that name, empty when there is none. */
  public static Optional<ModelConfig> find(String name) {
    return Optional.ofNullable(PRESETS.get(name));
  }

  /** All of them by name, in the order of their size. */
  public static Map<String, ModelConfig> all() {
    return PRESETS;
  }

  private static Map<String, ModelConfig> presets() {
    Map<String, ModelConfig> all = new LinkedHashMap<>();
    // Our own: learns sums on two CPU cores in minutes. The scaling factor is Moonlight's appendix
    // C figure 6 procedure for 16 experts, 2 chosen, rounded.
    all.put(
        "quickstart",
        new ModelConfig(
            258, 192, 384, 96, 2, 1, 4, 96, 64, 48, 16, 64, 16, 2, 1, 1, 1, 1.4, true, 10_000, null,
            1024, 1e-6, 0.02, false));
    // MoonshotAI/Moonlight-16B-A3B config.json.
    all.put(
        "moonlight-16b-a3b",
        new ModelConfig(
            163_840, 2048, 11_264, 1408, 27, 1, 16, 0, 512, 128, 64, 128, 64, 6, 2, 1, 1, 2.446,
            true, 50_000, null, 8192, 1e-5, 0.02, false));
    // deepseek-ai/DeepSeek-V3 config.json.
    all.put(
        "deepseek-v3",
        new ModelConfig(
            129_280,
            7168,
            18_432,
            2048,
            61,
            3,
            128,
            1536,
            512,
            128,
            64,
            128,
            256,
            8,
            1,
            8,
            4,
            2.5,
            true,
            10_000,
            new ModelConfig.Yarn(40, 4096, 32, 1, 1, 1),
            163_840,
            1e-6,
            0.02,
            false));
    // moonshotai/Kimi-K2-Instruct config.json (July 2025).
    all.put(
        "kimi-k2",
        new ModelConfig(
            163_840,
            7168,
            18_432,
            2048,
            61,
            1,
            64,
            1536,
            512,
            128,
            64,
            128,
            384,
            8,
            1,
            1,
            1,
            2.827,
            true,
            50_000,
            new ModelConfig.Yarn(32, 4096, 1, 1, 1, 1),
            131_072,
            1e-6,
            0.02,
            false));
    return Collections.unmodifiableMap(all);
  }
}
