package dev.perigee.trainer;

import dev.perigee.engine.checkpoint.CheckpointFormatException;
import dev.perigee.engine.checkpoint.CorruptCheckpointsException;
import dev.perigee.engine.checkpoint.StorageException;
import dev.perigee.engine.checkpoint.SupersededException;
import dev.perigee.engine.cuda.driver.OutOfDeviceMemoryException;
import dev.perigee.engine.data.DataException;
import dev.perigee.engine.model.WeightMismatchException;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.parallel.PeerMismatchException;
import dev.perigee.engine.train.NotFiniteException;
import dev.perigee.run.ExitCode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.BindException;
import java.nio.file.FileSystemException;
import java.nio.file.InvalidPathException;
import java.nio.file.ReadOnlyFileSystemException;

/**
 * How the program ends because of an error.
 *
 * @param exitCode what the operator is told
 * @param message one line for a person
 * @param bug whether the stack is worth printing
 */
record Failure(ExitCode exitCode, String message, boolean bug) {

  /** What an error means for the program. */
  static Failure of(Throwable error) {
    return switch (error) {
      case TrainerException e -> expected(e.exitCode(), e);
      case DataException e -> expected(e.exitCode(), e);
      case CorruptCheckpointsException e -> expected(ExitCode.CORRUPT_DATA, e);
      case WeightMismatchException e -> expected(ExitCode.BAD_CONFIG, e);
      case CheckpointFormatException e -> expected(ExitCode.BAD_CONFIG, e);
      // Two runs that take the same directory from each other in turn would get nowhere.
      case SupersededException e -> expected(ExitCode.BAD_CONFIG, e);
      case StorageException e when isReadOnly(e) -> readOnly(e);
      case IOException e when isReadOnly(e) -> readOnly(e);
      case StorageException e -> expected(ExitCode.STORAGE, e);
      // The same steps would lead to the same place again.
      case NotFiniteException e -> expected(ExitCode.BAD_CONFIG, e);
      case PeerMismatchException e -> expected(ExitCode.BAD_CONFIG, e);
      case LostPeerException e -> expected(ExitCode.LOST_PEER, e);
      case BindException e -> expected(ExitCode.BAD_CONFIG, e);
      // Of a folder that fails while it is listed.
      case UncheckedIOException e -> of(e.getCause());
      case InvalidPathException e ->
          new Failure(
              ExitCode.BAD_CONFIG,
              e.getInput().replaceAll("\\p{Cc}", "\ufffd")
                  + " can be no file's name here ("
                  + e.getReason()
                  + "); letters beyond ASCII need a locale with UTF-8, for example LANG=C.UTF-8",
              false);
      case IOException e ->
          new Failure(ExitCode.STORAGE, e.getClass().getSimpleName() + ": " + firstLine(e), false);
      case OutOfDeviceMemoryException e ->
          new Failure(
              ExitCode.OUT_OF_MEMORY,
              "out of GPU memory: " + firstLine(e) + "; use a smaller batch, sequence or model",
              false);
      case OutOfMemoryError e ->
          new Failure(
              ExitCode.OUT_OF_MEMORY,
              "out of memory: "
                  + firstLine(e)
                  + "; give the pod more memory, or use a smaller batch, sequence or model",
              false);
      default -> new Failure(ExitCode.INTERNAL, error.toString(), true);
    };
  }

  private static Failure expected(ExitCode exitCode, Throwable error) {
    return new Failure(exitCode, firstLine(error), false);
  }

  /** No restart makes it writable. */
  private static Failure readOnly(Exception error) {
    return new Failure(
        ExitCode.BAD_CONFIG,
        firstLine(error) + "; checkpoints need a volume that can be written",
        false);
  }

  /** Whether the volume is mounted read-only (EROFS), in the words of the platform. */
  private static boolean isReadOnly(Throwable error) {
    for (Throwable at = error; at != null; at = at.getCause()) {
      if (at instanceof ReadOnlyFileSystemException
          || (at instanceof FileSystemException e
              && e.getReason() != null
              && e.getReason().contains("Read-only file system"))) {
        return true;
      }
    }
    return false;
  }

  private static String firstLine(Throwable error) {
    String message = error.getMessage();
    return message == null
        ? error.getClass().getSimpleName()
        : message.replaceAll("\\s*\\R\\s*", " ");
  }
}
