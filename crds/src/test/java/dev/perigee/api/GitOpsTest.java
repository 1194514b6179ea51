package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import dev.cel.bundle.Cel;
import dev.cel.bundle.CelFactory;
import dev.cel.common.CelException;
import dev.cel.common.types.SimpleType;
import dev.cel.parser.CelStandardMacro;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.luaj.vm2.Globals;
import org.luaj.vm2.LuaTable;
import org.luaj.vm2.LuaValue;
import org.luaj.vm2.lib.jse.JsePlatform;

/** What Argo CD and Flux make of a job's status, with the files that are shipped for them. */
class GitOpsTest {
  private static final Path FOLDER = Path.of("..", "docs", "gitops");
  private static final YAMLMapper YAML = new YAMLMapper();

  /** CEL's integers are long. */
  private static final ObjectMapper LONGS =
      new ObjectMapper().enable(DeserializationFeature.USE_LONG_FOR_INTS);

  /** One case of Argo CD's own test file. */
  record Case(String file, String status, String message) {
    JsonNode job() throws IOException {
      return YAML.readTree(FOLDER.resolve("argocd").resolve(file).toFile());
    }
  }

  static Stream<Case> cases() throws IOException {
    JsonNode tests =
        YAML.readTree(FOLDER.resolve("argocd/health_test.yaml").toFile()).path("tests");
    return StreamSupport.stream(tests.spliterator(), false)
        .map(
            t ->
                new Case(
                    t.path("inputPath").asText(),
                    t.at("/healthStatus/status").asText(),
                    t.at("/healthStatus/message").asText()));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void argoCdSaysWhatTheStatusMeans(Case expected) throws IOException {
    Globals lua = JsePlatform.standardGlobals();
    lua.set("obj", lua(expected.job()));
    LuaValue health =
        lua.load(Files.readString(FOLDER.resolve("argocd/health.lua")), "health.lua").call();
    assertThat(health.get("status").tojstring()).isEqualTo(expected.status());
    assertThat(health.get("message").tojstring()).isEqualTo(expected.message());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void fluxSaysTheSame(Case expected) throws IOException, CelException {
    JsonNode expressions =
        YAML.readTree(FOLDER.resolve("flux/kustomization.yaml").toFile())
            .at("/spec/healthCheckExprs/0");
    String verdict = "Progressing";
    // In Flux's order; the first that holds decides, and none is in progress too.
    for (String at : List.of("inProgress", "failed", "current")) {
      if (holds(expressions.path(at).asText(), expected.job())) {
        verdict = at;
        break;
      }
    }
    assertThat(verdict)
        .isEqualTo(
            switch (expected.status()) {
              case "Progressing" -> "inProgress";
              case "Degraded" -> "failed";
              default -> "current";
            });
  }

  private static boolean holds(String expression, JsonNode job) throws CelException {
    Cel cel =
        CelFactory.legacyCelBuilder()
            .setStandardMacros(CelStandardMacro.STANDARD_MACROS)
            .addVar("metadata", SimpleType.DYN)
            .addVar("status", SimpleType.DYN)
            .build();
    Map<String, Object> values = LONGS.convertValue(job, new TypeReference<>() {});
    return (Boolean)
        cel.createProgram(cel.compile(expression).getAst())
            .eval(
                Map.of(
                    "metadata",
                    values.get("metadata"),
                    "status",
                    values.getOrDefault("status", Map.of())));
  }

  private static LuaValue lua(JsonNode node) {
    if (node.isObject()) {
      LuaTable table = new LuaTable();
      node.properties().forEach(e -> table.set(e.getKey(), lua(e.getValue())));
      return table;
    }
    if (node.isArray()) {
      LuaTable table = new LuaTable();
      for (int i = 0; i < node.size(); i++) {
        table.set(i + 1, lua(node.get(i)));
      }
      return table;
    }
    return node.isNumber()
        ? LuaValue.valueOf(node.asDouble())
        : node.isBoolean() ? LuaValue.valueOf(node.asBoolean()) : LuaValue.valueOf(node.asText());
  }
}
