package dev.perigee.api;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.run.ModelConfig;
import dev.perigee.run.ModelPresets;
import java.io.IOException;
import java.lang.reflect.RecordComponent;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ModelShapeTest {
  static Stream<Map.Entry<String, ModelConfig>> presets() {
    return ModelPresets.all().entrySet().stream();
  }

  @ParameterizedTest
  @MethodSource("presets")
  void aPresetWrittenOutInlineIsTheSameModel(Map.Entry<String, ModelConfig> preset)
      throws IOException {
    ObjectMapper strict = new ObjectMapper();
    JsonNode inline = strict.valueToTree(preset.getValue());
    assertThat(strict.treeToValue(inline, ModelShape.class).toConfig())
        .isEqualTo(preset.getValue());
  }

  @Test
  void theManifestHasTheFieldsOfTheContractAndNoOthers() {
    assertThat(names(ModelShape.class)).containsExactlyElementsOf(names(ModelConfig.class));
    assertThat(names(ModelShape.Yarn.class))
        .containsExactlyElementsOf(names(ModelConfig.Yarn.class));
  }

  private static List<String> names(Class<?> type) {
    return Stream.of(type.getRecordComponents()).map(RecordComponent::getName).toList();
  }
}
