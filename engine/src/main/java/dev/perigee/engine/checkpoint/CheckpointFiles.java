package dev.perigee.engine.checkpoint;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/** The writes that make a checkpoint durable; tests put a failing volume in its place. */
public interface CheckpointFiles {
  /** The real file system. */
  CheckpointFiles DISK = new Disk();

  /** A new file, or an old one emptied. */
  OutputStream create(Path file) throws IOException;

  /** Returns when a file's bytes, or a folder's names, are on the device. */
  void sync(Path path) throws IOException;

  /** Gives a file or folder its final name, in one step. */
  void rename(Path from, Path to) throws IOException;

  /** Removes a folder with all in it, if there is one. */
  void delete(Path folder) throws IOException;

  /** See {@link #DISK}. */
  final class Disk implements CheckpointFiles {
    private Disk() {}

    @Override
    public OutputStream create(Path file) throws IOException {
      return Files.newOutputStream(file);
    }

    @Override
    public void sync(Path path) throws IOException {
      try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
        channel.force(true);
      }
    }

    @Override
    public void rename(Path from, Path to) throws IOException {
      Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
    }

    @Override
    public void delete(Path folder) throws IOException {
      Folders.delete(folder);
    }
  }
}
