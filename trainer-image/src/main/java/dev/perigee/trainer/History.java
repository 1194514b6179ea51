package dev.perigee.trainer;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.perigee.engine.checkpoint.StorageException;
import dev.perigee.engine.checkpoint.WholeFile;
import dev.perigee.engine.train.StepReport;
import dev.perigee.run.RunStatus;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.List;

/**
 * What is left for people beside the checkpoints: {@code history.jsonl}, one line a step, and
 * {@code summary.json}, the last status. Rank 0 writes them.
 */
final class History implements AutoCloseable {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path directory;
  private final FileChannel channel;

  private History(Path directory, FileChannel channel) {
    this.directory = directory;
    this.channel = channel;
  }

  /** One line of {@code history.jsonl}. */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Line(
      long step,
      double loss,
      double gradNorm,
      double learningRate,
      double maxQkLogit,
      int clippedHeads,
      Double tokensPerSecond) {}

  /**
   * Goes on after a step: later lines, of steps that are now taken again, are cut off.
   *
   * @param directory of the checkpoints, which exists
   */
  static History open(Path directory, long afterStep) throws StorageException {
    Path file = directory.resolve("history.jsonl");
    try {
      if (Files.exists(file)) {
        // Not readAllLines(), which refuses the whole file for a byte that is no text.
        List<String> kept =
            new String(Files.readAllBytes(file), StandardCharsets.UTF_8)
                .lines()
                .takeWhile(line -> step(line) <= afterStep)
                .toList();
        Path fresh = directory.resolve("history.jsonl.partial");
        Files.write(fresh, kept, StandardCharsets.UTF_8);
        Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE);
      }
      return new History(
          directory,
          FileChannel.open(
              file,
              StandardOpenOption.CREATE,
              StandardOpenOption.WRITE,
              StandardOpenOption.APPEND));
    } catch (IOException e) {
      throw cannotWrite(file, e);
    }
  }

  /** The step of a line; a line cut short by a crash counts as later than all. */
  private static long step(String line) {
    try {
      Line read = JSON.readValue(line, Line.class);
      return read == null ? Long.MAX_VALUE : read.step();
    } catch (JsonProcessingException e) {
      return Long.MAX_VALUE;
    }
  }

  void append(StepReport report, Double tokensPerSecond) throws IOException, StorageException {
    Line line =
        new Line(
            report.step(),
            report.loss(),
            report.gradNorm(),
            report.learningRate(),
            report.largestLogit(),
            report.clippedHeads(),
            tokensPerSecond);
    ByteBuffer bytes =
        ByteBuffer.wrap((JSON.writeValueAsString(line) + "\n").getBytes(StandardCharsets.UTF_8));
    try {
      while (bytes.hasRemaining()) {
        channel.write(bytes);
      }
    } catch (IOException e) {
      throw cannotWrite(directory.resolve("history.jsonl"), e);
    }
  }

  /** An error of a channel or a stream does not say of which file. */
  private static StorageException cannotWrite(Path file, IOException e) {
    return new StorageException("cannot write " + file + ": " + e.getMessage(), e);
  }

  /** Writes {@code summary.json}. */
  void summarise(RunStatus status) throws StorageException {
    Path file = directory.resolve("summary.json");
    try {
      WholeFile.write(file, JSON.writerWithDefaultPrettyPrinter().writeValueAsBytes(status));
    } catch (IOException e) {
      throw cannotWrite(file, e);
    }
  }

  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
