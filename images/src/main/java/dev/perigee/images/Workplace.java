package dev.perigee.images;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Comparator;
import java.util.stream.Stream;

/**
 * The folder that images are put together in. It is the same one always, because an archive of
 * classes holds the path of what it was made from; so one build works at a time, and others wait.
 */
final class Workplace implements AutoCloseable {
  private static final Path FOLDER = Path.of("/tmp/perigee-images");

  private final FileChannel channel;
  private final FileLock lock;

  private Workplace(FileChannel channel, FileLock lock) {
    this.channel = channel;
    this.lock = lock;
  }

  /**
   * Waits until nobody else is at work, and clears the folder.
   *
   * @throws ImageException when the folder belongs to another user
   */
  static Workplace open() throws IOException, ImageException {
    if (!Files.exists(FOLDER)) {
      Files.createDirectory(
          FOLDER,
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    }
    if (!Files.isDirectory(FOLDER, LinkOption.NOFOLLOW_LINKS)
        || !Files.getOwner(FOLDER).getName().equals(System.getProperty("user.name"))) {
      throw new ImageException(FOLDER + " belongs to somebody else; remove it, or build as they");
    }
    FileChannel channel =
        FileChannel.open(
            FOLDER.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    Workplace workplace = new Workplace(channel, channel.lock());
    workplace.clear();
    Files.createDirectory(workplace.folder());
    return workplace;
  }

  /** An empty folder. */
  Path folder() {
    return FOLDER.resolve("work");
  }

  @Override
  public void close() throws IOException {
    clear();
    lock.release();
    channel.close();
  }

  private void clear() throws IOException {
    if (Files.exists(folder())) {
      try (Stream<Path> all = Files.walk(folder())) {
        for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
          Files.delete(path);
        }
      }
    }
  }
}
