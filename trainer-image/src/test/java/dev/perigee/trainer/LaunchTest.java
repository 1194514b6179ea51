package dev.perigee.trainer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LaunchTest {
  @TempDir Path root;
  private final Map<String, String> environment = new HashMap<>();
  private String run;

  @BeforeEach
  void files() throws IOException {
    Files.createDirectories(root.resolve("run"));
    run = new ObjectMapper().writeValueAsString(Gang.config(root, new Mesh(1, 2, 2, 1), 5));
    write("run.json", run);
    write(
        "ranks.json",
        """
        {"generation": 1, "pods": [
          {"index": 0, "name": "127.0.0.1", "ranks": [0]},
          {"index": 1, "name": "127.0.0.2", "ranks": [1]}]}
        """);
    environment.put("PERIGEE_ROOT", root.toString());
    environment.put("PERIGEE_POD_INDEX", "1");
  }

  @Test
  void theContractsFilesAreRead() throws Exception {
    Launch launch = Launch.read(environment);
    assertThat(launch.config()).isEqualTo(Gang.config(root, new Mesh(1, 2, 2, 1), 5));
    assertThat(launch.pod()).isEqualTo(1);
    assertThat(launch.address().getHostAddress()).isEqualTo("127.0.0.2");
    assertThat(launch.resolve("data")).isEqualTo(root.resolve("data"));
    environment.put("PERIGEE_POD_IP", "127.0.0.9");
    assertThat(Launch.read(environment).address().getHostAddress()).isEqualTo("127.0.0.9");
  }

  @Test
  void podsOfTheSameRunHaveTheSameDigestAndOthersAnother() throws Exception {
    String digest = Launch.read(environment).digest();
    environment.put("PERIGEE_POD_INDEX", "0");
    assertThat(Launch.read(environment).digest()).isEqualTo(digest);
    write("run.json", run.replace("\"seed\":1", "\"seed\":2"));
    assertThat(Launch.read(environment).digest()).isNotEqualTo(digest);
  }

  @Test
  void aMissingFileIsNamed() throws IOException {
    Files.delete(root.resolve("run/run.json"));
    refused("run.json is not there; expected the job's ConfigMap");
  }

  @Test
  void textThatIsNotJsonIsNamedByItsLine() throws IOException {
    write("run.json", "{\n\"job\": oops}");
    refused("run.json line 2: not JSON");
  }

  @Test
  void aValueOfTheWrongTypeIsNamedByItsField() throws IOException {
    write("run.json", run.replace("\"steps\":5", "\"steps\":\"many\""));
    refused("run.json: steps: ");
    write("run.json", run.replace("\"steps\":5", "\"steps\":5.5"));
    refused("run.json: steps: ");
    write("run.json", run.replace("\"weight\":1.0", "\"weight\":null"));
    refused("run.json: data[0].weight: ");
  }

  @Test
  void everyProblemOfTheConfigurationIsInTheLine() throws IOException {
    write("run.json", run.replace("\"steps\":5", "\"steps\":0").replace("512", "500"));
    refused("steps: 0 is less than 1", "batchTokens: 500 is not a multiple");
  }

  @Test
  void aStepThatCannotBeLaidOutOverStagesIsRefused() throws IOException {
    write(
        "run.json",
        run.replace("\"pipeline\":1", "\"pipeline\":2")
            .replace("\"virtualStages\":1", "\"virtualStages\":3"));
    refused("pipeline × virtualStages = 6 chunks for a model of 2 layers; use at most 4");
  }

  @Test
  void aPodIndexOutsideTheMapIsRefused() {
    for (String index : new String[] {"2", "-1", "one"}) {
      environment.put("PERIGEE_POD_INDEX", index);
      refused("PERIGEE_POD_INDEX: " + index + "; expected 0 to 1");
    }
  }

  @Test
  void aRankMapOfAnotherMeshIsRefused() throws IOException {
    write(
        "run.json",
        run.replace("\"data\":2", "\"data\":4").replace("\"expert\":2", "\"expert\":4"));
    refused("ranks.json: holds 2 ranks; the mesh of run.json has 4");
  }

  @Test
  void aRankThatIsInTwoPodsOrInNoneIsRefused() throws IOException {
    String pods = "{\"generation\": 1, \"pods\": [%s, %s]}";
    String first = "{\"index\": 0, \"name\": \"127.0.0.1\", \"ranks\": [0]}";
    write("ranks.json", pods.formatted(first, first.replace("0, \"name", "1, \"name")));
    refused("ranks.json: rank 1 of 2 is in no pod, so another is in two");
    write("ranks.json", pods.formatted(first, first.replace("[0]", "[1]")));
    refused("ranks.json: pods[1] has index 0; expected 1");
  }

  @Test
  void aFieldThatIsThereTwiceIsRefused() throws IOException {
    write("run.json", run.replace("\"steps\":5", "\"steps\":5,\"steps\":6"));
    refused("run.json", "Duplicate field 'steps'");
  }

  private void write(String name, String text) throws IOException {
    Files.writeString(root.resolve("run").resolve(name), text);
  }

  private void refused(String... parts) {
    assertThatThrownBy(() -> Launch.read(environment))
        .hasMessageNotContaining("\n")
        .satisfies(e -> assertThat(e.getMessage()).contains(parts))
        .asInstanceOf(InstanceOfAssertFactories.type(TrainerException.class))
        .returns(ExitCode.BAD_CONFIG, TrainerException::exitCode);
  }
}
