package dev.perigee.engine.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import org.junit.jupiter.api.Test;

/** What is on its way to the host. */
final class StagingTest {
  @Test
  void whatWasFetchedIsWhatWasThereThenAndItsMemoryIsUsedAgain() {
    FakeGpu gpu = new FakeGpu();
    Staging staging = new Staging(gpu, gpu);
    DeviceBuffer numbers = gpu.allocate(12);
    gpu.at(numbers).asIntBuffer().put(new int[] {1, 2, 3});
    Staging.Coming first = staging.fetch(numbers);
    gpu.at(numbers).asIntBuffer().put(new int[] {4, 5, 6});
    Staging.Coming second = staging.fetch(numbers);
    int[] got = new int[3];
    staging.take(first, got);
    assertThat(got).containsExactly(1, 2, 3);
    Staging.Coming third = staging.fetch(numbers);
    assertThat(third.numbers()).isSameAs(first.numbers());
    staging.take(second, got);
    assertThat(got).containsExactly(4, 5, 6);
  }

  @Test
  void fetchedIndicesAreTheNumbers() {
    FakeGpu gpu = new FakeGpu();
    CudaBackend backend = gpu.backend(Precision.FP32, true);
    CudaIndices range = (CudaIndices) backend.range(3); // which a fake does not compute
    gpu.at(range.at()).asIntBuffer().put(new int[] {7, 8, 9});
    range.fetch();
    range.fetch();
    gpu.at(range.at()).asIntBuffer().put(new int[] {0, 0, 0});
    assertThat(range.onHost()).containsExactly(7, 8, 9);
    range.fetch();
    assertThat(range.onHost()).containsExactly(7, 8, 9);
  }
}
