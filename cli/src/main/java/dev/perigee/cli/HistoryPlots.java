package dev.perigee.cli;

import java.awt.AWTError;
import java.awt.Color;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * Pictures of a {@link History}. The one class of the program that knows the JDK's java.desktop, so
 * that a JDK without it costs the pictures and nothing else.
 */
final class HistoryPlots {
  private static final int WIDTH = 900;
  private static final int HEIGHT = 500;

  private HistoryPlots() {}

  /**
   * Draws loss and largest QK logit over the steps.
   *
   * @param folder gets {@code loss.png} and {@code qk.png}
   * @return the files
   * @throws IOException when they cannot be written or this system cannot draw
   * @throws LinkageError when the JDK has no java.desktop
   */
  static List<Path> draw(History history, Path folder, String job) throws IOException {
    try {
      return List.of(
          draw(
              folder.resolve("loss.png"),
              job + ": loss",
              "cross-entropy (nats)",
              history.steps(),
              history.losses()),
          draw(
              folder.resolve("qk.png"),
              job + ": largest attention logit",
              "max QK",
              history.steps(),
              history.maxQkLogits()));
    } catch (AWTError e) {
      throw new IOException(e.getMessage(), e);
    }
  }

  private static Path draw(
      Path file, String title, String axis, List<Double> steps, List<Double> values)
      throws IOException {
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
