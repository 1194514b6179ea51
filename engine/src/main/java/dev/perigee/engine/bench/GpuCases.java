package dev.perigee.engine.bench;

import dev.perigee.engine.cuda.driver.DeviceArena;
import java.util.List;
import java.util.Map;

/** Cases that share their data; prepared, measured and freed together. */
interface GpuCases {
  /** Of the function in {@code gpu_baselines.py} that prepares the same. */
  String name();

  /** That function's arguments. */
  Map<String, Object> sizes();

  /** Our side, with its memory in {@code arena}; checked where the case can be. */
  List<GpuCase> prepare(GpuLab lab, DeviceArena arena);
}
