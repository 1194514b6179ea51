package dev.perigee.engine.parallel;

import static org.assertj.core.api.Assertions.assertThat;

import dev.perigee.engine.tensor.DeviceFloatsFake;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.Mesh;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Tensors in a device's memory go through the same operations to the same results. */
@Timeout(60)
class StagedCollectivesTest {
  private static Tensor numbers(boolean onDevice, int rank, int... shape) {
    Tensor x = Tensor.zeros(shape);
    for (int i = 0; i < x.size(); i++) {
      x.floats()[i] = (rank + 1) * (i + 0.1f);
    }
    return onDevice ? new Tensor(new DeviceFloatsFake(x.floats()), 0, shape) : x;
  }

  /** What a rank has after every operation. */
  private static List<float[]> operate(Collectives group, boolean onDevice) {
    int rank = group.index();
    List<Tensor> results = new ArrayList<>();
    Tensor sum = numbers(onDevice, rank, 2, 3);
    group.allReduceSum(sum.slice(1, 1)); // a part: the rest stays
    results.add(sum);
    Tensor max = numbers(onDevice, -rank, 7);
    group.allReduceMax(max);
    results.add(max);
    Tensor scattered = numbers(onDevice, rank, 5);
    group.reduceScatterSum(scattered, new int[] {2, 3});
    results.add(scattered.slice(2 * rank, 2 + rank));
    Tensor gathered = numbers(onDevice, rank, 5);
    group.allGather(gathered, new int[] {2, 3});
    results.add(gathered);
    Tensor whole = numbers(onDevice, 9, 6);
    group.allGather(numbers(onDevice, rank, 3), whole);
    results.add(whole);
    Tensor received = numbers(onDevice, 9, rank == 0 ? 3 : 4, 2);
    int[] send = rank == 0 ? new int[] {1, 2} : new int[] {2, 2};
    int[] receive = rank == 0 ? new int[] {1, 2} : new int[] {2, 2};
    group.allToAll(numbers(onDevice, rank, rank == 0 ? 3 : 4, 2), send, received, receive);
    results.add(received);
    Tensor told = numbers(onDevice, rank, 4);
    group.broadcast(told, 1);
    results.add(told);
    Tensor passed = numbers(onDevice, rank, 4);
    if (rank == 0) {
      group.send(1, 5, passed);
    } else {
      group.receive(0, 5, passed);
    }
    results.add(passed);
    group.barrier();
    return results.stream()
        .map(Tensor::onHost)
        .map(x -> Arrays.copyOfRange(x.floats(), x.offset(), x.offset() + x.size()))
        .toList();
  }

  @Test
  void everyOperationGivesWhatItGivesOnTheHost() throws Exception {
    Mesh mesh = new Mesh(1, 2, 1, 2);
    Fabric host = Fabric.local(2);
    List<List<float[]>> expected =
        host.run(rank -> operate(host.groups(mesh, rank).data(), /* onDevice= */ false));
    Fabric device = Fabric.local(2);
    List<List<float[]>> found =
        device.run(
            rank -> operate(device.groups(mesh, rank).staged().data(), /* onDevice= */ true));
    for (int rank = 0; rank < 2; rank++) {
      for (int i = 0; i < expected.get(rank).size(); i++) {
        assertThat(found.get(rank).get(i))
            .as("result %d of rank %d", i, rank)
            .isEqualTo(expected.get(rank).get(i));
      }
    }
  }
}
