package dev.perigee.engine.cuda.nccl;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.perigee.engine.cuda.driver.Gpu;
import dev.perigee.engine.cuda.driver.Stream;
import dev.perigee.engine.parallel.Collectives;
import dev.perigee.engine.parallel.Fellowship;
import dev.perigee.engine.tensor.Tensor;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** One rank through the real library, on a machine with a GPU and NCCL. */
final class NcclGpuTest {
  @Test
  void aGroupOfOneGetsItsOwnNumbers() {
    try (Gpu gpu = new Gpu()) {
      Optional<String> why = NcclCollectives.whyAbsent();
      assumeTrue(why.isEmpty(), () -> why.orElse(""));
      Stream stream = gpu.device.communication();
      NcclMember.Line line =
          new NcclMember.Line(
              stream, gpu.stream, gpu.arena, Tensor::zeros, stream.handle(), stream::isIdle);
      Nccl nccl = NcclLibrary.load().orElseThrow();
      try (NcclCollectives c =
          NcclCollectives.join(nccl, line, Collectives.solo(), Fellowship.ALONE)) {
        float[] numbers = {1, -2, 3.5f, 4, 5, 6};
        Tensor x = Tensor.of(numbers.clone(), 6);
        c.allReduceSum(x);
        c.allReduceMax(x);
        c.reduceScatterSum(x, new int[] {6});
        c.allGather(x, new int[] {6});
        c.broadcast(x, 0);
        assertThat(x.floats()).isEqualTo(numbers);
        Tensor whole = Tensor.zeros(6);
        c.allGather(x, whole);
        assertThat(whole.floats()).isEqualTo(numbers);
        double[] figures = {0.25, 7};
        c.allReduceSum(figures);
        assertThat(figures).containsExactly(0.25, 7);
        assertThat(c.allToAllCounts(new int[] {3})).containsExactly(3);
        Tensor rows = Tensor.zeros(3, 2);
        c.allToAll(x.view(3, 2), new int[] {3}, rows, new int[] {3});
        assertThat(rows.floats()).isEqualTo(numbers);
        c.barrier();
      }
    }
  }
}
