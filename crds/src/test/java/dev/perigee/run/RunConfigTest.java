package dev.perigee.run;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RunConfigTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  private static final RunConfig GOOD =
      new RunConfig(
          "default/a",
          7,
          new RunConfig.Model(ModelPresets.find("quickstart").orElseThrow(), null),
          List.of(new RunConfig.DataSource("sums", 1, "arithmetic", null)),
          new RunConfig.Tokenizer(RunConfig.Tokenizer.Kind.bytes, null),
          64,
          1024,
          new Mesh(1, 4, 2, 2),
          RunConfig.Optimizer.DEFAULT,
          new RunConfig.Schedule(0.002, 10, 20, 0),
          100,
          new RunConfig.Checkpoint("checkpoints", 10, 2),
          new RunConfig.Evaluation(0, 8, 0.1),
          RunConfig.Network.DEFAULT);

  @Test
  void aGoodOneHasNoProblemsAndSurvivesItsFile() throws IOException {
    assertThat(GOOD.problems()).isEmpty();
    assertThat(JSON.readValue(JSON.writeValueAsString(GOOD), RunConfig.class)).isEqualTo(GOOD);
  }

  /** Each change, a JSON pointer and a value, is one problem, which names the field. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "/job | \" \" | job: missing",
        "/model | null | model: missing",
        "/model/digest | \"abc\" | model.digest: expected only with a folder",
        "/data | [] | data: empty",
        "/data/0/name | \"\" | data[0].name: missing",
        "/data/0/weight | 0 | data[0].weight: 0.0 is not a positive number",
        "/data/0/path | \"x\" | data[0]: expected exactly one of builtin and path",
        "/tokenizer | null | tokenizer.kind: missing",
        "/tokenizer/path | \"ranks\" | tokenizer.path: expected for tiktoken, and only for it",
        "/sequenceLength | 1 | sequenceLength: 1 is less than 2",
        "/batchTokens | 1000 | batchTokens: 1000 is not a multiple of sequenceLength × data = 256; the nearest that works is 1024",
        "/mesh | null | mesh: missing",
        "/pipeline/virtualStages | 0 | parallelism.virtualStages: 0 is less than 1",
        "/pipeline/microBatchSequences | 0 | parallelism.microBatchSequences: 0 is less than 1",
        "/pipeline/layout | [] | parallelism.layout: empty",
        "/memory/bucketMebibytes | 5000 | memory.bucketMebibytes: 5000 is not in 1 to 4096",
        "/memory/offload | true | memory.offload: no activation waits without a pipeline",
        "/compute/precision | \"bf16\" | compute.precision: bf16 needs backend cuda",
        "/compute/backend | null | compute: expected a backend",
        "/optimizer/kind | null | optimizer: missing, or without kind",
        "/optimizer/weightDecay | -1 | optimizer.weightDecay: -1.0 is negative",
        "/optimizer/muon/momentum | 1 | optimizer.muon.momentum: 1.0 is not in [0, 1)",
        "/optimizer/muon/newtonSchulzSteps | 0 | optimizer.muon.newtonSchulzSteps: 0 is not in 1 to 100",
        "/optimizer/muon/newtonSchulzCoefficients | [1] | optimizer.muon.newtonSchulzCoefficients: expected three",
        "/optimizer/adamW/epsilon | 0 | optimizer.adamW.epsilon: 0.0 is not positive",
        "/optimizer/qkClip/balance | 2 | optimizer.qkClip.balance: 2.0 is not in [0, 1]",
        "/schedule | null | schedule: missing",
        "/schedule/peakLearningRate | 0 | schedule.peakLearningRate: 0.0 is not positive",
        "/schedule/decaySteps | 91 | schedule: warmupSteps 10 + decaySteps 91 is more than steps 100",
        "/schedule/decaySteps | 9223372036854775807 | schedule: warmupSteps 10 + decaySteps",
        "/checkpoint | null | checkpoint: missing",
        "/checkpoint/directory | \"\" | checkpoint.directory: missing",
        "/checkpoint/intervalSteps | 0 | checkpoint.intervalSteps: 0 is less than 1",
        "/checkpoint/keep | 0 | checkpoint.keep: 0 is less than 1",
        "/evaluation/heldOutFraction | 1 | evaluation.heldOutFraction: 1.0 is not in [0, 1)",
        "/trace | {\"step\": 101} | trace.step: 101 is not one of the 100 steps",
        "/network | null | network: missing",
        "/network/httpPort | 65536 | network.httpPort: 65536 is not a port",
        "/network/peerPort | 8080 | network.peerPort: 8080 is the httpPort too"
      })
  void whatCannotWorkIsOneLineWithItsField(String pointer, String value, String problem)
      throws IOException {
    ObjectNode file = JSON.valueToTree(GOOD);
    int last = pointer.lastIndexOf('/');
    ObjectNode parent = (ObjectNode) file.at(pointer.substring(0, last));
    parent.set(pointer.substring(last + 1), JSON.readTree(value));

    assertThat(JSON.treeToValue(file, RunConfig.class).problems())
        .singleElement()
        .asString()
        .startsWith(problem);
  }

  @Test
  void moreSourcesThanCanBeMixedAreRefused() throws IOException {
    assertThat(withSources(1024).problems()).isEmpty();
    assertThat(withSources(1025).problems())
        .containsExactly(
            "data: 1025 sources; expected at most 1024, put the files of several into one folder");
  }

  private static RunConfig withSources(int count) throws IOException {
    ObjectNode file = JSON.valueToTree(GOOD);
    ArrayNode data = file.putArray("data");
    for (int i = 0; i < count; i++) {
      data.add(JSON.valueToTree(new RunConfig.DataSource("s" + i, 1, null, "texts/" + i)));
    }
    return JSON.treeToValue(file, RunConfig.class);
  }
}
