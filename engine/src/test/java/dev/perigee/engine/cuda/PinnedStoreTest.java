package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.backend.Arena;
import dev.perigee.engine.backend.Saved;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Activations that wait in pinned memory, on a fake of the driver layer. */
final class PinnedStoreTest {
  private static final int SIZE = 1000;

  private final FakeGpu gpu = new FakeGpu();

  private static Tensor filled(Arena.Region region, float value) {
    Tensor x = region.take(10, SIZE / 10);
    float[] numbers = new float[SIZE];
    Arrays.fill(numbers, value);
    x.assign(Tensor.of(numbers, 10, SIZE / 10));
    return x;
  }

  @ParameterizedTest
  @EnumSource
  void numbersComeBackAfterOthersHaveUsedTheirMemory(Precision precision) {
    CudaBackend backend = gpu.backend(precision, true);
    long bytes = (precision == Precision.BF16 ? 2L : 4L) * SIZE;
    Arena.Region early = backend.arena().region();
    Saved saved = early.save(filled(early, 3));
    early.offload(backend.hostStore());
    assertThat(backend.arena().currentBytes()).isZero();
    assertThat(backend.hostStore().currentBytes()).isEqualTo(bytes);
    Arena.Region late = backend.arena().region();
    filled(late, 9);
    early.load();
    assertThat(backend.hostStore().currentBytes()).isZero();
    assertThat(saved.get().onHost().floats()).hasSize(SIZE).containsOnly(3);
    early.offload(backend.hostStore());
    assertThat(saved.get().onHost().floats()).as("without a load").containsOnly(3);
    assertThat(backend.hostStore().peakBytes()).isEqualTo(bytes);
  }

  @Test
  void memoryIsHandedOutAgainOnlyWhenItHasBeenCopied() {
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    Arena.Region region = backend.arena().region();
    Tensor idle = region.take(SIZE);
    Tensor first = filled(region, 1);
    Tensor second = filled(region, 2);
    region.save(first);
    region.save(second);
    region.release(idle);
    gpu.copying = true;
    region.offload(backend.hostStore());
    Arena.Region next = backend.arena().region();
    assertThat(next.take(SIZE).storage()).as("what is free already").isSameAs(idle.storage());
    assertThat(gpu.waits).isZero();
    assertThat(next.take(SIZE).storage()).as("the copy begun first").isSameAs(first.storage());
    assertThat(gpu.waits).as("the device waits for the copy").isEqualTo(1);
    gpu.copying = false;
    assertThat(next.take(SIZE).storage()).isSameAs(second.storage());
    assertThat(gpu.waits).as("a copy that is done is not waited for").isEqualTo(1);
  }

  @Test
  void workWaitsForWhatComesBackOnlyWhenItAsksForIt() {
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    Arena.Region region = backend.arena().region();
    Saved saved = region.save(filled(region, 4));
    region.offload(backend.hostStore());
    region.load();
    assertThat(gpu.waits).isZero();
    saved.get();
    saved.get();
    assertThat(gpu.waits).isEqualTo(1);
  }
}
