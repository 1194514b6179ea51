package dev.perigee.plan;

import com.fasterxml.jackson.core.JsonEncoding;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.plan.Timeline.Event;
import dev.perigee.plan.Timeline.Lane;
import dev.perigee.plan.Timeline.Track;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Timelines in Chrome's trace event format ("JSON object format", complete events): a process for
 * each track, a thread for each lane, microseconds. {@code chrome://tracing} and Perfetto show it.
 */
public final class ChromeTrace {
  private ChromeTrace() {}

  /** Writes a timeline to a file. */
  public static void write(Timeline timeline, Path file) throws IOException {
    try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(file));
        JsonGenerator json = new JsonFactory().createGenerator(out, JsonEncoding.UTF8)) {
      json.writeStartObject();
      json.writeStringField("displayTimeUnit", "ms");
      json.writeArrayFieldStart("traceEvents");
      for (int pid = 0; pid < timeline.tracks().size(); pid++) {
        Track track = timeline.tracks().get(pid);
        name(json, "process_name", pid, 0, track.name());
        for (Lane lane : Lane.values()) {
          if (track.events().stream().anyMatch(e -> e.lane() == lane)) {
            name(json, "thread_name", pid, lane.number(), lane.label());
          }
        }
        for (Event event : track.events()) {
          json.writeRaw('\n');
          json.writeStartObject();
          json.writeStringField("name", event.name());
          json.writeStringField("cat", event.lane().label());
          json.writeStringField("ph", "X");
          json.writeNumberField("ts", microseconds(event.start()));
          json.writeNumberField("dur", microseconds(event.seconds()));
          json.writeNumberField("pid", pid);
          json.writeNumberField("tid", event.lane().number());
          json.writeEndObject();
        }
      }
      json.writeEndArray();
      json.writeEndObject();
    }
  }

  private static void name(JsonGenerator json, String what, int pid, int tid, String name)
      throws IOException {
    json.writeRaw('\n');
    json.writeStartObject();
    json.writeStringField("name", what);
    json.writeStringField("ph", "M");
    json.writeNumberField("pid", pid);
    json.writeNumberField("tid", tid);
    json.writeObjectFieldStart("args");
    json.writeStringField("name", name);
    json.writeEndObject();
    json.writeEndObject();
  }

  /** To the nanosecond, which is what clocks give. */
  private static double microseconds(double seconds) {
    return Math.round(seconds * 1e9) / 1e3;
  }

  /**
   * Reads a file that {@link #write} or the engine's recorder wrote.
   *
   * @throws IOException when it cannot be read, or is not a trace; the message says what is wrong
   */
  public static Timeline read(Path file) throws IOException {
    JsonNode root;
    try {
      root = new ObjectMapper().readTree(file.toFile());
    } catch (JsonProcessingException e) {
      throw new IOException(
          file + ": not JSON: " + e.getOriginalMessage().lines().findFirst().orElse(""), e);
    }
    return read(file, root);
  }

  private static Timeline read(Path file, JsonNode root) throws IOException {
    JsonNode list = root == null ? null : root.get("traceEvents");
    if (list == null || !list.isArray()) {
      throw new IOException(file + ": no list of traceEvents; expected Chrome's trace format");
    }
    Map<Integer, String> names = new TreeMap<>();
    Map<Integer, List<Event>> events = new TreeMap<>();
    for (JsonNode event : list) {
      int pid = event.path("pid").asInt();
      switch (event.path("ph").asText()) {
        case "M" -> {
          if (event.path("name").asText().equals("process_name")) {
            names.put(pid, event.path("args").path("name").asText());
          }
        }
        case "X" -> {
          double start = event.path("ts").asDouble() / 1e6;
          Lane lane = lane(file, event.path("cat").asText());
          events
              .computeIfAbsent(pid, p -> new ArrayList<>())
              .add(
                  new Event(
                      event.path("name").asText(),
                      lane,
                      start,
                      start + event.path("dur").asDouble() / 1e6));
        }
        default -> {}
      }
    }
    if (events.isEmpty()) {
      throw new IOException(file + ": no complete events (ph X) in traceEvents");
    }
    List<Track> tracks = new ArrayList<>();
    events.forEach(
        (pid, some) -> tracks.add(new Track(names.getOrDefault(pid, "rank " + pid), some)));
    return new Timeline(tracks);
  }

  private static Lane lane(Path file, String label) throws IOException {
    for (Lane lane : Lane.values()) {
      if (lane.label().equals(label)) {
        return lane;
      }
    }
    throw new IOException(
        file
            + ": an event of category '"
            + label
            + "'; expected compute, experts, pipeline or"
            + " host memory");
  }
}
