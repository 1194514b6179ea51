package dev.perigee.engine.cuda.nccl;

import dev.perigee.engine.parallel.Fabric;

/** A pod that is lost while ranks work together. */
final class LostPod {
  static final String SILENT = "pod 1 (demo-1.demo) is lost: silent for 6000 ms";

  private LostPod() {}

  static void after(int milliseconds, Fabric fabric) {
    Thread.ofPlatform()
        .start(
            () -> {
              try {
                Thread.sleep(milliseconds);
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
              fabric.abort(SILENT);
            });
  }
}
