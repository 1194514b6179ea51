package dev.perigee.engine.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class TensorTest {
  @Test
  void numbersOfADeviceAreReadAndWrittenOnlyByCopies() {
    Tensor x =
        new Tensor(new DeviceFloatsFake(new float[] {0, 1, 2, 3, 4, 5}), 0, 3, 2).slice(1, 2);
    assertThatThrownBy(x::floats).hasMessageContaining("not on the host");
    Tensor h = x.onHost();
    assertThat(h.floats()).containsExactly(2, 3, 4, 5);
    assertThat(h.shape()).containsExactly(2, 2);
    h.floats()[0] = 9;
    assertThat(x.onHost().floats()).as("a copy").containsExactly(2, 3, 4, 5);
    x.assign(h);
    assertThat(x.onHost().floats()).containsExactly(9, 3, 4, 5);
    assertThat(((DeviceFloatsFake) x.storage()).memory()).containsExactly(0, 1, 9, 3, 4, 5);
  }

  @Test
  void numbersOfTheHostAreNotCopiedToBeChanged() {
    Tensor x = Tensor.of(new float[] {1, 2, 3, 4}, 4).slice(1, 2);
    Tensor h = x.onHost();
    assertThat(h).isSameAs(x);
    h.floats()[h.offset()] = 7;
    x.assign(h);
    assertThat(x.floats()).containsExactly(1, 7, 3, 4);
    x.assign(Tensor.of(new float[] {0, 5, 6}, 3).slice(1, 2));
    assertThat(x.floats()).containsExactly(1, 5, 6, 4);
  }

  @Test
  void numbersGoFromWhereverTheyAreToWhereverTheyBelong() {
    float[] numbers = {1, 2, 3, 4};
    for (boolean from : new boolean[] {true, false}) {
      for (boolean to : new boolean[] {true, false}) {
        Tensor x = on(from, numbers.clone()).slice(1, 2);
        Tensor y = on(to, new float[5]).slice(2, 2);
        y.assign(x);
        assertThat(all(y)).as("%s to %s", from, to).containsExactly(0, 0, 2, 3, 0);
      }
    }
  }

  private static Tensor on(boolean device, float[] numbers) {
    return device
        ? new Tensor(new DeviceFloatsFake(numbers), 0, numbers.length)
        : Tensor.of(numbers, numbers.length);
  }

  private static float[] all(Tensor x) {
    return x.storage() instanceof DeviceFloatsFake fake ? fake.memory() : x.floats();
  }

  @Test
  void numbersOfAnotherSizeAreRefused() {
    assertThatThrownBy(() -> Tensor.zeros(2, 3).assign(Tensor.zeros(5)))
        .hasMessageContaining("[2, 3]")
        .hasMessageContaining("[5]");
  }
}
