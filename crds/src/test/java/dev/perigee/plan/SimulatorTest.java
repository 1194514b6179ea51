package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.perigee.plan.Schedule.Shape;
import dev.perigee.plan.Step.Action;
import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.plan.Timeline.Track;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SimulatorTest {
  /** Forward takes 1 over all runs of layers of a stage, backward 2; nothing else takes time. */
  private static Timeline even(int stages, int virtual, int microBatches) {
    Shape shape = new Shape(stages, virtual, microBatches, false, false, false);
    Schedule schedule = Schedule.of(shape, Collections.nCopies(shape.chunks(), 0));
    return Simulator.run(
        schedule,
        step ->
            switch (step.action()) {
              case FORWARD -> 1.0 / virtual;
              case BACKWARD -> 2.0 / virtual;
              default -> 0;
            });
  }

  @ParameterizedTest
  @CsvSource({"1, 1, 4", "2, 1, 8", "4, 1, 4", "4, 1, 16", "8, 1, 32", "4, 2, 8", "4, 4, 16"})
  void theBubbleIsThatOfTheTextbook(int stages, int virtual, int microBatches) {
    // "Efficient large-scale language model training on GPU clusters", sections 2.2.1 and 2.2.2
    double idle = (stages - 1.0) / virtual;
    assertThat(even(stages, virtual, microBatches).bubbleShare())
        .isCloseTo(idle / (microBatches + idle), within(1e-9));
  }

  @Test
  void aReceiveWaitsForItsSendAndASendForNobody() {
    Shape shape = new Shape(2, 1, 1, false, false, false);
    Timeline timeline =
        Simulator.run(
            Schedule.of(shape, List.of(0, 0)),
            step -> step.action() == Action.SEND_ACTIVATION ? 5 : 1);

    assertThat(timeline.tracks().getLast().events().getFirst())
        .isEqualTo(new Event("receive activation 0 chunk 1 part 0", Lane.PIPELINE, 0, 6));
    assertThat(timeline.span()).isEqualTo(10); // 1, 5, 1, 1, 1 and 1
  }

  @Test
  void exchangesRunUnderTheComputeOfAnotherMicroBatch() {
    Shape shape = new Shape(2, 1, 16, true, false, false);
    Schedule schedule = Schedule.of(shape, List.of(2, 2));
    double compute = 1;
    Timeline timeline =
        Simulator.run(schedule, step -> step.action().exchangesExperts() ? compute / 2 : compute);

    // All but those at the edges, where the other micro-batch is not there yet or has ended.
    assertThat(Timing.steadyHidden(timeline)).isGreaterThan(0.9);
  }

  @Test
  void aScheduleThatWaitsForItselfIsNotRunForEver() {
    Shape shape = new Shape(2, 1, 1, false, false, false);
    Schedule good = Schedule.of(shape, List.of(0, 0));
    List<Step> turned = good.steps().getFirst().reversed();
    Schedule bad = new Schedule(shape, List.of(0, 0), List.of(turned, good.steps().getLast()));

    assertThatThrownBy(() -> Simulator.run(bad, step -> 1))
        .hasMessageContaining("waits forever at");
  }

  @Test
  void aTraceIsReadAsItWasWritten(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("trace.json");
    Timeline timeline = even(2, 2, 4);

    ChromeTrace.write(timeline, file);

    assertThat(ChromeTrace.read(file)).isEqualTo(timeline);
    assertThat(TimelineSvg.draw(timeline, "a < b & c"))
        .startsWith("<svg xmlns=")
        .contains("a &lt; b &amp; c", "forward 3 chunk 3 part 0", "stage 1");
  }

  @Test
  void whatIsNoTraceIsSaidToBeNone(@TempDir Path folder) throws IOException {
    Path file = Files.writeString(folder.resolve("trace.json"), "{\"traceEvents\": 3}");
    assertThatThrownBy(() -> ChromeTrace.read(file)).hasMessageContaining("no list of traceEvents");
    Files.writeString(file, "{\"traceEvents\": [{\"ph\": \"X\", \"cat\": \"fun\"}]}");
    assertThatThrownBy(() -> ChromeTrace.read(file)).hasMessageContaining("category 'fun'");
    Files.writeString(file, "{");
    assertThatThrownBy(() -> ChromeTrace.read(file)).hasMessageContaining("not JSON");
  }

  @Test
  void aRecordedStepTellsWhatAMicroBatchTakes() {
    Timeline recorded = even(2, 1, 4);

    Calibration calibration = MeasuredCosts.of(recorded).calibration();

    assertThat(calibration.forwardSeconds()).isCloseTo(2, within(1e-9));
    assertThat(calibration.backwardSeconds()).isCloseTo(4, within(1e-9));
    Timeline strange =
        new Timeline(List.of(new Track("a", List.of(new Event("lunch", Lane.COMPUTE, 0, 1)))));
    assertThatThrownBy(() -> MeasuredCosts.of(strange)).hasMessageContaining("'lunch'");
  }
}
