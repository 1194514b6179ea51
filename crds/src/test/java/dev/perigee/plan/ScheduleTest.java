package dev.perigee.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.perigee.plan.Schedule.Shape;
import dev.perigee.plan.Step.Action;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ScheduleTest {
  /** Every shape of up to 8 stages, 4 virtual stages and 17 micro-batches that can be. */
  private static Stream<Schedule> all() {
    List<Schedule> found = new ArrayList<>();
    for (int stages = 1; stages <= 8; stages++) {
      for (int virtual = 1; virtual <= 4; virtual++) {
        for (int microBatches = 1; microBatches <= 17; microBatches++) {
          for (int options = 0; options < 8; options++) {
            Shape shape =
                new Shape(
                    stages,
                    virtual,
                    microBatches,
                    (options & 1) != 0,
                    (options & 2) != 0,
                    (options & 4) != 0);
            if (shape.problems().isEmpty()) {
              found.add(Schedule.of(shape, expertLayers(shape)));
            }
          }
        }
      }
    }
    return found.stream();
  }

  /** Uneven: 0 in the first chunk, then 1, 2, 0, 1, … */
  private static List<Integer> expertLayers(Shape shape) {
    List<Integer> layers = new ArrayList<>();
    for (int chunk = 0; chunk < shape.chunks(); chunk++) {
      layers.add(chunk % 3);
    }
    return layers;
  }

  @Test
  void everyScheduleEndsAndDoesEachThingOnceAndInOrder() {
    assertThat(all().filter(s -> !ScheduleCheck.of(s).problems().isEmpty()).map(Schedule::shape))
        .isEmpty();
  }

  @Test
  void aStageKeepsAsManyActivationsAsStagesFollowIt() {
    Schedule plain = Schedule.of(new Shape(4, 1, 8, false, false, false), List.of(0, 0, 0, 0));
    assertThat(ScheduleCheck.of(plain).peakLive()).containsExactly(4, 3, 2, 1);
  }

  @Test
  void splitWeightGradientsKeepNoMoreThanTheFirstStageDoes() {
    Schedule split = Schedule.of(new Shape(4, 1, 8, false, true, false), List.of(0, 0, 0, 0));
    assertThat(ScheduleCheck.of(split).peakLive()).allMatch(live -> live <= 4);
  }

  @Test
  void expertOverlapKeepsOneMore() {
    Schedule overlap = Schedule.of(new Shape(4, 1, 8, true, false, false), List.of(1, 1, 1, 1));
    assertThat(ScheduleCheck.of(overlap).peakLive()).containsExactly(5, 4, 3, 2);
  }

  /** So that whether anything is offloaded need not be asked of all micro-batches. */
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 7})
  void whetherAnythingIsOffloadedShowsInTheFirstMicroBatches(int stages) {
    for (int virtualStages = 1; virtualStages <= 3; virtualStages++) {
      for (boolean overlap : new boolean[] {false, true}) {
        for (int groups = 4; groups <= 9; groups++) {
          int all = groups * stages;
          assertThat(offloads(new Shape(stages, virtualStages, all, overlap, false, true)))
              .isEqualTo(
                  offloads(
                      new Shape(
                          stages,
                          virtualStages,
                          Timing.simulated(stages, all),
                          overlap,
                          false,
                          true)));
        }
      }
    }
  }

  private static boolean offloads(Shape shape) {
    return Schedule.of(shape, Collections.nCopies(shape.chunks(), 0)).steps().stream()
        .flatMap(List::stream)
        .anyMatch(step -> step.action() == Action.OFFLOAD);
  }

  @Test
  void offloadingKeepsFewerOnTheDevice() {
    List<Integer> layers = Collections.nCopies(16, 1);
    Schedule keeps = Schedule.of(new Shape(8, 2, 16, false, false, false), layers);
    Schedule offloads = Schedule.of(new Shape(8, 2, 16, false, false, true), layers);
    assertThat(ScheduleCheck.of(keeps).peakLive().getFirst()).isEqualTo(23);
    assertThat(ScheduleCheck.of(offloads).peakLive().getFirst()).isEqualTo(3);
  }

  @Test
  void expertOverlapWithSplitWeightGradientsKeepsNoMore() {
    Schedule split = Schedule.of(new Shape(4, 1, 8, true, true, false), List.of(1, 1, 1, 1));
    assertThat(ScheduleCheck.of(split).peakLive()).containsExactly(5, 4, 3, 2);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void inSteadyStateEveryExchangeRunsUnderTheComputeOfAnotherMicroBatch(boolean split) {
    Schedule overlap =
        Schedule.of(new Shape(4, 2, 16, true, split, false), Collections.nCopies(8, 2));
    for (List<Step> steps : overlap.steps()) {
      int firstBackward = index(steps, split ? Action.BACKWARD_INPUT : Action.BACKWARD, 0);
      int lastForward = lastIndex(steps, Action.FORWARD);
      for (int i = firstBackward; i < lastForward; i++) {
        Step exchange = steps.get(i);
        if (exchange.action().exchangesExperts()) {
          Step next =
              steps.subList(i + 1, steps.size()).stream()
                  .filter(s -> s.action().computes())
                  .findFirst()
                  .orElseThrow();
          assertThat(next.microBatch() != exchange.microBatch() || next.chunk() != exchange.chunk())
              .as("%s under %s", exchange, next)
              .isTrue();
        }
      }
    }
  }

  @Test
  @Timeout(10)
  void aStepOfManyMicroBatchesIsMadeInTimeThatGrowsWithThemAndNotWithTheirSquare() {
    Schedule many =
        Schedule.of(new Shape(16, 2, 8192, false, false, true), Collections.nCopies(32, 0));
    assertThat(many.steps().getFirst()).filteredOn(s -> s.action() == Action.OFFLOAD).isNotEmpty();
  }

  /** Attention's forward alone may be shorter than an exchange. */
  @Test
  void inSteadyStateWeightGradientsRunUnderEveryCombineThatGoesBackwards() {
    Schedule split = Schedule.of(new Shape(4, 2, 16, true, true, false), Collections.nCopies(8, 2));
    for (List<Step> steps : split.steps()) {
      int lastForward = lastIndex(steps, Action.FORWARD);
      // From the second backward on: the first has no weight gradients before it.
      for (int i = index(steps, Action.BACKWARD_WEIGHT, 0); i < lastForward; i++) {
        Step combine = steps.get(i);
        if (combine.action() == Action.COMBINE_BACKWARD) {
          Step needsIt =
              new Step(
                  Action.BACKWARD_INPUT,
                  combine.microBatch(),
                  combine.chunk(),
                  2 * combine.part() + 1);
          assertThat(steps.subList(i, steps.indexOf(needsIt)))
              .as("under %s", combine)
              .anyMatch(s -> s.action() == Action.BACKWARD_WEIGHT)
              .anyMatch(s -> s.action() == Action.FORWARD);
        }
      }
    }
  }

  @Test
  void whatGoesBetweenStagesAtTheEndOfAPairRunsUnderWeightGradients() {
    Schedule split = Schedule.of(new Shape(4, 2, 16, true, true, false), Collections.nCopies(8, 2));
    List<Step> steps = split.steps().get(1);
    int checked = 0;
    for (int i = index(steps, Action.BACKWARD_INPUT, 0); i < steps.size(); i++) {
      if (steps.get(i).action() != Action.SEND_GRADIENT) {
        continue;
      }
      int nextForward = index(steps, Action.RECEIVE_ACTIVATION, i);
      if (nextForward < 0) {
        break;
      }
      assertThat(steps.subList(i, nextForward)).anyMatch(s -> s.action() == Action.BACKWARD_WEIGHT);
      checked++;
    }
    assertThat(checked).isGreaterThan(16);
  }

  @Test
  void theLastStageSendsGradientsBeforeItComputesThoseOfItsWeights() {
    Schedule split = Schedule.of(new Shape(2, 1, 4, false, true, false), List.of(0, 0));
    List<Step> last = split.steps().get(1);
    assertThat(last.indexOf(new Step(Action.SEND_GRADIENT, 0, 1, 0)))
        .isLessThan(last.indexOf(new Step(Action.BACKWARD_WEIGHT, 0, 1, 0)));
  }

  @Test
  void aNumberOfMicroBatchesThatCannotBeInterleavedIsRefusedWithTheNearest() {
    assertThatThrownBy(
            () -> Schedule.of(new Shape(4, 2, 6, false, false, false), Collections.nCopies(8, 0)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "parallelism.virtualStages: 2 virtual stages need a multiple of 4 micro-batches, one for"
                + " each stage, and there are 6; the nearest that work are 4 and 8");
    assertThat(new Shape(4, 2, 3, false, false, false).problems())
        .first()
        .asString()
        .endsWith("there are 3; the nearest that work are 4");
  }

  @Test
  void twoStepsOfOnePassInTheWrongOrderAreFound() {
    Random random = new Random(7);
    for (Schedule schedule : all().filter(s -> s.shape().microBatches() == 8).toList()) {
      List<List<Step>> steps = new ArrayList<>();
      schedule.steps().forEach(list -> steps.add(new ArrayList<>(list)));
      int stage = random.nextInt(steps.size());
      List<Step> list = steps.get(stage);
      Step later = list.get(random.nextInt(list.size()));
      while (schedule.needs(later).stream().noneMatch(list::contains)) {
        later = list.get(random.nextInt(list.size()));
      }
      Step needed = schedule.needs(later).stream().filter(list::contains).findFirst().orElseThrow();
      Collections.swap(list, list.indexOf(later), list.indexOf(needed));
      assertThat(check(schedule, steps)).as("%s and %s", needed, later).isNotEmpty();
    }
  }

  @Test
  void aStepThatIsLeftOutOrDoneTwiceIsFound() {
    Schedule schedule =
        Schedule.of(new Shape(2, 2, 4, true, true, true), Collections.nCopies(4, 1));
    for (int at = 0; at < schedule.steps().getFirst().size(); at++) {
      List<Step> without = new ArrayList<>(schedule.steps().getFirst());
      Step step = without.remove(at);
      assertThat(check(schedule, List.of(without, schedule.steps().get(1))))
          .as("without %s", step)
          .isNotEmpty();
      List<Step> twice = new ArrayList<>(schedule.steps().getFirst());
      twice.add(step);
      assertThat(check(schedule, List.of(twice, schedule.steps().get(1))))
          .as("%s twice", step)
          .isNotEmpty();
    }
  }

  @Test
  void stagesThatWaitForEachOtherAreFound() {
    Schedule schedule = Schedule.of(new Shape(2, 1, 2, false, false, false), List.of(0, 0));
    List<List<Step>> steps = new ArrayList<>();
    schedule.steps().forEach(list -> steps.add(new ArrayList<>(list)));
    // The first stage waits for the gradient of micro-batch 0 before it sends anything.
    Step gradient = new Step(Action.RECEIVE_GRADIENT, 0, 0, 0);
    steps.getFirst().remove(gradient);
    steps.getFirst().addFirst(gradient);
    assertThat(check(schedule, steps))
        .anyMatch(p -> p.startsWith("deadlock: stage 0 waits at receive gradient 0 chunk 0 part 0"))
        .anyMatch(p -> p.startsWith("deadlock: stage 1 waits at receive activation 0 chunk 1"));
  }

  private static List<String> check(Schedule schedule, List<List<Step>> steps) {
    return ScheduleCheck.of(new Schedule(schedule.shape(), schedule.expertLayers(), steps))
        .problems();
  }

  private static int index(List<Step> steps, Action action, int from) {
    for (int i = from; i < steps.size(); i++) {
      if (steps.get(i).action() == action) {
        return i;
      }
    }
    return -1;
  }

  private static int lastIndex(List<Step> steps, Action action) {
    int last = -1;
    for (int i = 0; i < steps.size(); i++) {
      last = steps.get(i).action() == action ? i : last;
    }
    return last;
  }
}
