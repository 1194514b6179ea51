package dev.perigee.cli;

import com.fasterxml.jackson.databind.JsonNode;
import dev.perigee.cli.cluster.api.Json;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import javax.imageio.ImageIO;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * The course of a job, one point a step, as the trainer writes it into {@code history.jsonl}.
 *
 * @param steps the steps
 * @param losses mean cross-entropy of each, in nats
 * @param maxQkLogits largest attention logit of each
 */
record History(List<Double> steps, List<Double> losses, List<Double> maxQkLogits) {
  /** Name of the file beside the checkpoints. */
  static final String FILE = "history.jsonl";

  private static final int WIDTH = 900;
  private static final int HEIGHT = 500;

  History {
    steps = List.copyOf(steps);
    losses = List.copyOf(losses);
    maxQkLogits = List.copyOf(maxQkLogits);
  }

  /** Reads a history; a last line that is cut short is left out. */
  static History read(Path file) throws IOException {
    List<Double> steps = new ArrayList<>();
    List<Double> losses = new ArrayList<>();
    List<Double> logits = new ArrayList<>();
    for (String line : Files.readAllLines(file)) {
      JsonNode point;
      try {
        point = Json.parse(line.getBytes(StandardCharsets.UTF_8), false);
      } catch (IOException e) {
        continue;
      }
      if (point.path("step").isNumber()
          && point.path("loss").isNumber()
          && point.path("maxQkLogit").isNumber()) {
        steps.add(point.get("step").asDouble());
        losses.add(point.get("loss").asDouble());
        logits.add(point.get("maxQkLogit").asDouble());
      }
    }
    return new History(steps, losses, logits);
  }

  /**
   * Draws loss and largest QK logit over the steps.
   *
   * @param folder gets {@code loss.png} and {@code qk.png}
   * @return the files
   */
  List<Path> draw(Path folder, String job) throws IOException {
    return List.of(
        draw(folder.resolve("loss.png"), job + ": loss", "cross-entropy (nats)", losses),
        draw(folder.resolve("qk.png"), job + ": largest attention logit", "max QK", maxQkLogits));
  }

  private Path draw(Path file, String title, String axis, List<Double> values) throws IOException {
    XYChart chart =
        new XYChartBuilder()
            .width(WIDTH)
            .height(HEIGHT)
            .title(title)
            .xAxisTitle("step")
            .yAxisTitle(axis)
            .build();
    chart.getStyler().setLegendVisible(false);
    chart.getStyler().setChartBackgroundColor(Color.WHITE);
    chart.getStyler().setPlotBorderVisible(false);
    chart.getStyler().setDefaultSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Line);
    chart.addSeries(axis, steps, values).setMarker(SeriesMarkers.NONE);
    BufferedImage image = new BufferedImage(WIDTH, HEIGHT, BufferedImage.TYPE_INT_RGB);
    Graphics2D graphics = image.createGraphics();
    chart.paint(graphics, WIDTH, HEIGHT);
    graphics.dispose();
    ByteArrayOutputStream png = new ByteArrayOutputStream(); // a full disk leaves no half picture
    ImageIO.write(image, "png", png);
    try {
      Files.write(file, png.toByteArray());
    } catch (IOException e) {
      Files.deleteIfExists(file);
      throw e;
    }
    return file;
  }
}
