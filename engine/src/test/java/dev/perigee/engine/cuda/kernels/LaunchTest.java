package dev.perigee.engine.cuda.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.cuda.driver.DeviceBuffer;
import dev.perigee.engine.cuda.driver.Launch;
import dev.perigee.engine.cuda.driver.Launcher;
import dev.perigee.engine.cuda.driver.TensorMap;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What the launches ask of a GPU, recorded by a fake: no GPU needed. */
class LaunchTest {
  /** An H100's limit for a block. */
  private static final int MOST_SHARED = 232448;

  /** Keeps what it is given. */
  private static final class Recorder implements Launcher {
    final List<Launch> launches = new ArrayList<>();

    @Override
    public void launch(Launch launch) {
      launches.add(launch);
    }

    @Override
    public void after(Launcher other) {}

    Launch last() {
      return launches.getLast();
    }
  }

  private final Recorder gpu = new Recorder();

  private static DeviceBuffer buffer(long address, long bytes) {
    return new DeviceBuffer(address, bytes);
  }

  private static TensorMap map(Launch l, int argument) {
    return ((Launch.Argument.Map) l.arguments().get(argument)).value();
  }

  private static int integer(Launch l, int argument) {
    return ((Launch.Argument.Int32) l.arguments().get(argument)).value();
  }

  @Test
  void forwardDescribesItsOperandsToTheCopyEngine() {
    GroupedGemm.Sizes s = new GroupedGemm.Sizes(64, 49152, 2048, 2816);
    DeviceBuffer x = buffer(1L << 30, 2L * 49152 * 2048);
    DeviceBuffer w = buffer(2L << 30, 2L * 64 * 2816 * 2048);
    DeviceBuffer y = buffer(4L << 30, 2L * 49152 * 2816);
    gpu.launch(GroupedGemm.forward(132, s, x, w, buffer(3L << 30, 65 * 4), y));
    Launch l = gpu.last();
    assertThat(l.kernel())
        .as("six rows of 128 by eleven tiles: few are left without a partner")
        .isEqualTo("grouped_gemm_forward_pair");
    assertThat(l.grid()).isEqualTo(new Launch.Dim(132, 1, 1));
    assertThat(l.block()).as("a producer and two consumers").isEqualTo(new Launch.Dim(384, 1, 1));
    assertThat(l.sharedBytes()).isLessThanOrEqualTo(MOST_SHARED);
    assertThat(map(l, 0)).isEqualTo(TensorMap.ragged(x, 49152, 2048, 2048, 64));
    assertThat(map(l, 1))
        .isEqualTo(new TensorMap(2L << 30, 2048, 2816, 64, 4096, 4096L * 2816, 64, 128));
    assertThat(map(l, 2)).isEqualTo(TensorMap.ragged(y, 49152, 2816, 2816, 64));
    assertThat(l.arguments().get(3)).isEqualTo(new Launch.Argument.Address(3L << 30));
    assertThat(l.arguments().get(4)).isEqualTo(new Launch.Argument.Tickets());
    assertThat(List.of(integer(l, 5), integer(l, 6), integer(l, 7), integer(l, 8)))
        .containsExactly(64, 49152, 2816, 2048);
  }

  @Test
  void blocksFormPairsOnlyWhereTilesAndBlocksComeOutEven() {
    DeviceBuffer big = buffer(256, 1 << 30);
    GroupedGemm.Sizes even = new GroupedGemm.Sizes(2, 1000, 512, 2048);
    assertThat(GroupedGemm.forward(132, even, big, big, big, big).kernel()).endsWith("_pair");
    assertThat(GroupedGemm.inputGradient(132, even, big, big, big, big).kernel()).endsWith("_pair");
    assertThat(GroupedGemm.weightGradient(132, even, big, big, big, big).kernel())
        .endsWith("_pair");
    assertThat(GroupedGemm.forwardSwiGlu(132, even, big, big, big, big, big).kernel())
        .endsWith("_pair");
    assertThat(GroupedGemm.forward(131, even, big, big, big, big).kernel())
        .as("a block would be left alone")
        .doesNotEndWith("_pair");
    GroupedGemm.Sizes odd = new GroupedGemm.Sizes(64, 49152, 1280, 2048);
    assertThat(GroupedGemm.inputGradient(132, odd, big, big, big, big).kernel())
        .as("five tiles by six: few are left without a partner")
        .endsWith("_pair");
    GroupedGemm.Sizes narrow = new GroupedGemm.Sizes(64, 49152, 1408, 2048);
    assertThat(GroupedGemm.inputGradient(132, narrow, big, big, big, big).kernel())
        .as("both tiles of a pair are narrow")
        .endsWith("_pair");
    GroupedGemm.Sizes few = new GroupedGemm.Sizes(64, 640, 1280, 2048);
    assertThat(GroupedGemm.inputGradient(132, few, big, big, big, big).kernel())
        .as("ten rows an expert: nothing to pair along")
        .doesNotEndWith("_pair");
    GroupedGemm.Sizes one = new GroupedGemm.Sizes(64, 64 * 128, 256, 2048);
    assertThat(GroupedGemm.inputGradient(132, one, big, big, big, big).kernel())
        .as("one tile an expert has no partner")
        .doesNotEndWith("_pair");
    GroupedGemm.Sizes three = new GroupedGemm.Sizes(2, 1000, 768, 384);
    assertThat(GroupedGemm.weightGradient(132, three, big, big, big, big).kernel())
        .as("three by three tiles leave one alone")
        .doesNotEndWith("_pair");
  }

  @Test
  void aWeightGradientTurnsItsTilesTheWayThatLeavesFewerOut() {
    DeviceBuffer big = buffer(256, 1 << 30);
    GroupedGemm.Sizes down = new GroupedGemm.Sizes(64, 49152, 1408, 2048);
    Launch l = GroupedGemm.weightGradient(132, down, big, big, big, big);
    assertThat(l.kernel())
        .as("16 x 6 tiles of 128 x 256 one way, 11 x 8 the other")
        .isEqualTo("grouped_gemm_weight_gradient_transposed_pair");
    assertThat(List.of(integer(l, 5), integer(l, 6), integer(l, 7)))
        .containsExactly(64, 1408, 2048);
    assertThat(map(l, 2).x()).as("dw itself is not turned").isEqualTo(1408);
    GroupedGemm.Sizes up = new GroupedGemm.Sizes(64, 49152, 2048, 2816);
    assertThat(GroupedGemm.weightGradient(132, up, big, big, big, big).kernel())
        .isEqualTo("grouped_gemm_weight_gradient_pair");
  }

  @Test
  void theFusedActivationSeesGateAndUpAsTwoMatrices() {
    GroupedGemm.Sizes s = new GroupedGemm.Sizes(3, 100, 64, 2 * 72);
    DeviceBuffer big = buffer(1 << 20, 1 << 24);
    DeviceBuffer h = buffer(1 << 25, 2 * 100 * 144);
    Launch l = GroupedGemm.forwardSwiGlu(3, s, big, big, big, h, big);
    assertThat(map(l, 1))
        .as("w")
        .isEqualTo(new TensorMap(1 << 20, 64, 72, 6, 128, 128 * 72, 64, 128));
    assertThat(map(l, 2).reach()).as("gates").isEqualTo(buffer(1 << 25, 99 * 288 + 144));
    assertThat(map(l, 3).reach()).as("ups").isEqualTo(buffer((1 << 25) + 144, 99 * 288 + 144));
    assertThat(map(l, 4)).as("a").isEqualTo(TensorMap.ragged(big, 100, 72, 72, 64));
  }

  @Test
  void theGradientOfSwiGluStoresTheSixteenRowsOfAWarpAtATime() {
    GroupedGemm.Sizes s = new GroupedGemm.Sizes(64, 49152, 1408, 2048);
    DeviceBuffer big = buffer(256, 1 << 30);
    Launch l = GroupedGemm.inputGradientSwiGlu(132, s, big, big, big, big, big, big, big, big, big);
    assertThat(l.kernel()).as("both tiles of a pair are narrow").endsWith("_pair");
    assertThat(l.module()).isEqualTo("grouped_swiglu_gradient");
    assertThat(l.sharedBytes()).isLessThanOrEqualTo(MOST_SHARED);
    assertThat(List.of(map(l, 2).boxY(), map(l, 3).boxY(), map(l, 4).boxY(), map(l, 5).boxY()))
        .as("h in blocks of 64 rows; its gradients and the activation by the warp")
        .containsExactly(64, 16, 16, 16);
    assertThat(GroupedGemm.dweightParts(1408)).isEqualTo(6);
  }

  /**
   * Matrices of 5, 0 and 7 rows in room for 16: where their first and last rows, and no more, are.
   */
  @Test
  void aRaggedMapEndsWithEachMatrix() {
    TensorMap map = TensorMap.ragged(buffer(1 << 20, 16 * 128), 16, 64, 64, 4);
    for (int[] matrix : new int[][] {{0, 5}, {5, 0}, {5, 7}}) {
      int first = matrix[0];
      int rows = matrix[1];
      for (int row = 0; row <= rows; row++) {
        long y = 16L - rows + row;
        long z = (long) first + rows;
        assertThat(y < map.y()).as("row %d of %d", row, rows).isEqualTo(row < rows);
        assertThat(z).isLessThan(map.z());
        assertThat(map.address() + y * map.strideY() + z * map.strideZ())
            .isEqualTo((1 << 20) + 128L * (first + row));
      }
    }
    assertThat(map.reach()).isEqualTo(buffer(1 << 20, 16 * 128));
    assertThatThrownBy(() -> TensorMap.ragged(buffer(1 << 20, 100), 16, 64, 64, 4))
        .hasMessageContaining("16 rows of 64")
        .hasMessageContaining("a buffer of 100 bytes");
  }

  @Test
  void theRoutersWeightGradientIsASumOfSlices() {
    DeviceBuffer big = buffer(1 << 20, 1 << 26);
    Router router = new Router(8192, 2048, 64, 6, 1);
    assertThat(router.slices()).hasSize(17).startsWith(0, 512).endsWith(8192);
    assertThat(new Router(5, 64, 8, 2, 1).slices())
        .as("fewer tokens than slices: some are empty")
        .isSorted()
        .startsWith(0)
        .endsWith(5);
    List<Launch> both = router.weightGradient(132, big, big, big, big, big);
    assertThat(map(both.get(0), 2).z()).as("a sum for each slice").isEqualTo(16);
    assertThat(map(both.get(0), 2).reach().bytes()).isEqualTo(router.partsBytes());
    assertThat(both.get(1).grid().x() * 256L * 4).isGreaterThanOrEqualTo(64 * 2048);
  }

  @Test
  void dispatchCoversEveryAssignmentAndExpert() {
    Dispatch d = new Dispatch(8192, 384, 8);
    DeviceBuffer any = buffer(256, 1 << 24);
    List<Launch> plan = d.plan(any, any, any, any, any);
    assertThat(plan.get(0).grid().x() * 512L).isGreaterThanOrEqualTo(8192 * 8);
    assertThat(plan.get(1).block().x()).as("a power of two above the experts").isEqualTo(512);
    assertThat(d.scratchBytes()).isEqualTo(128L * 384 * 4);
    Launch rows = d.rowsToExperts(true, any, any, any, 7168);
    assertThat(rows.grid().x() * 8).isEqualTo(8192);
    assertThat(rows.kernel()).isEqualTo("dispatch_rows_hopper");
    assertThat(rows.sharedBytes()).as("a row for each of eight warps").isEqualTo(8 * 7168 * 2);
    assertThat(d.rowsToExperts(false, any, any, any, 7168).kernel()).isEqualTo("dispatch_rows");
    Launch wide = d.rowsToExperts(true, any, any, any, 16384);
    assertThat(wide.kernel()).as("rows of 32 KiB do not fit").isEqualTo("dispatch_rows");
    assertThat(wide.sharedBytes()).isZero();
  }

  @Test
  void theRouterOfKimiK2FitsIntoSharedMemory() {
    Router k2 = new Router(4096, 7168, 384, 8, 2.827f);
    DeviceBuffer any = buffer(256, 1 << 26);
    assertThat(k2.forward(any, any, any, any, any, any).sharedBytes())
        .isLessThanOrEqualTo(MOST_SHARED);
    assertThat(k2.forward(132, any, any, any, any, any, any).kernel()).isEqualTo("router_forward");
    Launch narrow = new Router(8192, 2048, 64, 6, 1).forward(132, any, any, any, any, any, any);
    assertThat(narrow.kernel()).isEqualTo("narrow_router_forward");
    Launch manyChosen = new Router(129, 2056, 40, 32, 1).forward(132, any, any, any, any, any, any);
    assertThat(manyChosen.kernel()).as("more than 16 of them").isEqualTo("router_forward");
    assertThat(narrow.sharedBytes()).isLessThanOrEqualTo(MOST_SHARED);
    assertThatThrownBy(() -> new Router(4096, 7168, 1025, 8, 1)).hasMessageContaining("not 1025");
  }

  @Test
  void sizesThatTheHardwareCannotTakeAreRefusedWithTheNumber() {
    assertThatThrownBy(() -> new GroupedGemm.Sizes(4, 10, 100, 64))
        .hasMessageContaining("divisible by 8")
        .hasMessageContaining("100 inputs");
    assertThatThrownBy(() -> new GroupedGemm.Sizes(0, 10, 64, 64))
        .hasMessageContaining("0 experts");
    assertThatThrownBy(() -> new TensorMap(8, 64, 64, 1, 128, 8192, 64, 64))
        .hasMessageContaining("address 8");
    assertThatThrownBy(() -> TensorMap.of(buffer(256, 100), 1, 10, 64, 64))
        .hasMessageContaining("do not fit into a buffer of 100 bytes");
    assertThatThrownBy(() -> new Router(1, 64, 4, 5, 1)).hasMessageContaining("5 of 4");
    assertThatThrownBy(() -> new Dispatch(1, 2000, 1)).hasMessageContaining("2000");
    assertThatThrownBy(() -> buffer(256, 10).slice(8, 3)).hasMessageContaining("8 to 11");
  }

  @Test
  void aLaunchNamesItsKernelAndSizes() {
    DeviceBuffer big = buffer(256, 1 << 24);
    Launch l = GroupedGemm.forward(2, new GroupedGemm.Sizes(3, 5, 64, 72), big, big, big, big);
    assertThat(l.toString())
        .contains("grouped_gemm_forward", "3 experts, 5 rows, 64 to 72", "grid 2x1x1");
  }
}
