package dev.perigee.plan;

import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.plan.Timeline.Track;
import java.util.Locale;

/** A timeline as a picture: a row for each track, what is computed above what is moved. */
public final class TimelineSvg {
  private static final int LEFT = 80;
  private static final int WIDTH = 1400;
  private static final int TOP = 54;
  private static final int ROW = 34;
  private static final int COMPUTE = 18;
  private static final int MOVED = 4;
  private static final int FOOT = 28;

  /** Narrower rectangles cannot be seen, and make the file large. */
  private static final double NARROWEST = 0.4;

  private TimelineSvg() {}

  /** The picture, with a title. */
  public static String draw(Timeline timeline, String title) {
    double span = timeline.span();
    double scale = span > 0 ? WIDTH / span : 0;
    int height = TOP + ROW * timeline.tracks().size() + FOOT;
    StringBuilder svg = new StringBuilder(1 << 16);
    svg.append(
        """
        <svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">
        <rect width="100%%" height="100%%" fill="white"/>
        <text x="%d" y="20" font-size="15">%s</text>
        """
            .formatted(LEFT + WIDTH + 20, height, LEFT, escape(title)));
    legend(svg);
    for (int row = 0; row < timeline.tracks().size(); row++) {
      Track track = timeline.tracks().get(row);
      int y = TOP + ROW * row;
      svg.append("<text x=\"4\" y=\"%d\">%s</text>%n".formatted(y + 14, escape(track.name())));
      for (Event event : track.events()) {
        double width = event.seconds() * scale;
        if (width >= NARROWEST) {
          rectangle(svg, event, y, event.start() * scale, width);
        }
      }
    }
    axis(svg, span, scale, height);
    return svg.append("</svg>\n").toString();
  }

  private static void rectangle(StringBuilder svg, Event event, int y, double x, double width) {
    int top =
        switch (event.lane()) {
          case COMPUTE -> y;
          case EXPERTS -> y + COMPUTE;
          case PIPELINE -> y + COMPUTE + MOVED;
          case HOST -> y + COMPUTE + 2 * MOVED;
        };
    svg.append(
        String.format(
            Locale.ROOT,
            "<rect x=\"%.2f\" y=\"%d\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>%s, %.3f ms"
                + "</title></rect>%n",
            LEFT + x,
            top,
            width,
            event.lane() == Lane.COMPUTE ? COMPUTE - 1 : MOVED - 1,
            color(event),
            escape(event.name()),
            event.seconds() * 1e3));
  }

  private static String color(Event event) {
    return switch (event.lane()) {
      case COMPUTE ->
          event.name().startsWith("forward")
              ? "#4c78a8"
              : event.name().startsWith("weight") ? "#54a24b" : "#f58518";
      case EXPERTS -> "#b279a2";
      case PIPELINE -> "#9d9d9d";
      case HOST -> "#8c6d31";
    };
  }

  private static void legend(StringBuilder svg) {
    String[][] entries = {
      {"#4c78a8", "forward"},
      {"#f58518", "backward, input gradient"},
      {"#54a24b", "weight gradient"},
      {"#b279a2", "dispatch, combine"},
      {"#9d9d9d", "between stages"},
      {"#8c6d31", "host memory"}
    };
    int x = LEFT;
    for (String[] entry : entries) {
      svg.append(
          "<rect x=\"%d\" y=\"32\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"42\">%s</text>%n"
              .formatted(x, entry[0], x + 16, entry[1]));
      x += 30 + 7 * entry[1].length();
    }
  }

  private static void axis(StringBuilder svg, double span, double scale, int height) {
    if (span <= 0) {
      return;
    }
    double step = Math.pow(10, Math.floor(Math.log10(span)));
    step = span / step < 2 ? step / 5 : span / step < 5 ? step / 2 : step;
    for (int i = 0; i * step <= span; i++) {
      svg.append(
          String.format(
              Locale.ROOT,
              "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>%n",
              LEFT + i * step * scale,
              height - 8,
              Figures.seconds(i * step)));
    }
  }

  private static String escape(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
  }
}
