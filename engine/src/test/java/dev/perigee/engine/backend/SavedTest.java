package dev.perigee.engine.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.engine.tensor.Storage;
import dev.perigee.engine.tensor.Tensor;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

final class SavedTest {
  private final CpuBackend backend = new CpuBackend();
  private final Arena arena = backend.arena();

  private Tensor filled(Arena.Region region, float value, int... shape) {
    Tensor x = region.take(shape);
    backend.fill(x, value);
    return x;
  }

  private static void isFilled(Tensor x, float value) {
    float[] numbers = Arrays.copyOfRange(x.floats(), x.offset(), x.offset() + x.size());
    assertThat(numbers).containsOnly(value);
  }

  @Test
  void memoryThatIsGivenBackEarlyIsUsedAgainAndTheRestStays() {
    Arena.Region region = arena.region();
    Tensor first = filled(region, 1, 40, 10);
    Tensor second = filled(region, 2, 40, 10);
    region.release(first);
    assertThat(arena.currentBytes()).isEqualTo(arena.peakBytes() / 2);
    Tensor third = filled(region, 3, 40, 10);
    isFilled(second, 2);
    assertThat(third.storage()).isSameAs(first.storage());
    region.release();
    assertThat(arena.currentBytes()).isZero();
    assertThatThrownBy(() -> region.release(second)).isInstanceOf(IllegalArgumentException.class);
  }

  /** Numbers of two bytes each. */
  private record Rounded(int length) implements Storage.DeviceFloats {
    @Override
    public int width() {
      return 2;
    }

    @Override
    public void read(int from, float[] to, int at, int count) {
      throw new UnsupportedOperationException();
    }

    @Override
    public void write(float[] from, int at, int to, int count) {
      throw new UnsupportedOperationException();
    }
  }

  @Test
  void roundedAndExactMemoryAreKeptApartAndCountedByTheirBytes() {
    Arena two = new Arena(Rounded::new, n -> new Storage.HostFloats(new float[n]));
    Arena.Region region = two.region();
    Tensor rounded = region.take(256);
    Tensor exact = region.takeFloats(256);
    assertThat(two.currentBytes()).isEqualTo(256 * 2 + 256 * 4);
    region.release();
    assertThat(two.currentBytes()).isZero();
    Arena.Region next = two.region();
    assertThat(next.takeFloats(256).storage()).isSameAs(exact.storage());
    assertThat(next.take(256).storage()).isSameAs(rounded.storage());
    assertThat(two.reservedBytes()).isEqualTo(256 * 2 + 256 * 4);
  }

  @Test
  void whatIsDroppedIsMadeAgainOnceWhenItIsNeeded() {
    Arena.Region region = arena.region();
    int[] made = new int[1];
    Saved saved = region.save(filled(region, 1, 30, 20));
    assertThat(region.save(saved.get())).as("the same memory is saved once").isSameAs(saved);
    saved.drop(
        () -> {
          made[0]++;
          return filled(region, 1, 30, 20);
        });
    assertThat(arena.currentBytes()).isZero();
    assertThat(saved.dim(0)).isEqualTo(30);
    assertThat(made[0]).isZero();
    isFilled(saved.get(), 1);
    isFilled(saved.get(), 1);
    assertThat(made[0]).isEqualTo(1);
  }

  @Test
  void whatIsSavedWaitsOnTheHostWhileOthersUseItsMemory() {
    Arena.Region early = arena.region();
    Saved kept = early.save(filled(early, 1, 64, 16));
    Saved dropped = early.save(filled(early, 2, 64, 16));
    Tensor notSaved = filled(early, 3, 64, 16);
    dropped.drop(() -> filled(early, 2, 64, 16));
    long before = arena.currentBytes();
    early.offload(backend.hostStore());
    assertThat(arena.currentBytes()).isEqualTo(before / 2);
    assertThat(backend.hostStore().currentBytes()).isEqualTo(4 * 64 * 16);
    Arena.Region late = arena.region();
    Tensor other = filled(late, 9, 64, 16);
    early.load();
    assertThat(backend.hostStore().currentBytes()).isZero();
    isFilled(kept.get(), 1);
    isFilled(dropped.get(), 2);
    isFilled(notSaved, 3);
    isFilled(other, 9);
  }

  @Test
  void whoAsksForWhatIsOnTheHostGetsItWithoutALoad() {
    Arena.Region region = arena.region();
    Saved saved = region.save(filled(region, 4, 10, 10));
    region.offload(backend.hostStore());
    region.offload(backend.hostStore());
    isFilled(saved.get(), 4);
    assertThat(backend.hostStore().currentBytes()).isZero();
    assertThat(backend.hostStore().peakBytes()).isEqualTo(400);
  }

  @Test
  void whatBelongsToAnotherRegionStaysWhereItIs() {
    Arena.Region neighbour = arena.region();
    Tensor x = filled(neighbour, 5, 10, 10);
    Arena.Region region = arena.region();
    Saved saved = region.save(x);
    region.offload(backend.hostStore());
    assertThat(backend.hostStore().currentBytes()).isZero();
    assertThat(saved.get()).isSameAs(x);
  }
}
