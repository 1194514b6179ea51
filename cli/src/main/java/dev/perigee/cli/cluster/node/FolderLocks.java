package dev.perigee.cli.cluster.node;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Folders of this machine that one cluster at a time may write to. The lock is the kernel's, on a
 * file in the folder, so it goes with the process that holds it, however that ends; the file stays.
 */
public final class FolderLocks implements Closeable {
  /** The file that is locked; it says who holds it, or who did last. */
  static final String FILE = ".perigee.lock";

  private static final Logger LOG = Logger.getLogger(FolderLocks.class.getName());

  /**
   * What this process holds. The kernel knows processes only, and forgets a process's lock as soon
   * as any channel of that process to the file is closed, so such a file is not opened again.
   */
  private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

  private final Map<Path, FileChannel> mine = new HashMap<>();

  /**
   * Takes a folder until {@link #close}; one that is taken already stays so. Where nobody may
   * write, or the file system knows no locks, there is none to take.
   *
   * @param folder that exists
   * @param instead how to name another folder, for the message
   * @throws FolderInUseException when another cluster has it
   */
  public synchronized void take(Path folder, String instead) throws IOException {
    Path real = folder.toRealPath();
    if (mine.containsKey(real)) {
      return;
    }
    if (!HELD.add(real)) {
      throw new FolderInUseException(real, "another cluster of this process", instead);
    }
    FileChannel channel = null;
    try {
      channel = lock(real, instead);
    } finally {
      if (channel == null) {
        HELD.remove(real);
      }
    }
    if (channel != null) {
      mine.put(real, channel);
    }
  }

  /** The channel that holds the lock, null where none can be had. */
  private static FileChannel lock(Path folder, String instead) throws FolderInUseException {
    Path file = folder.resolve(FILE);
    FileChannel channel;
    try {
      channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> folder + " is not locked");
      return null;
    }
    FileLock lock;
    try {
      lock = channel.tryLock();
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> folder + " is not locked");
      close(channel);
      return null;
    }
    if (lock == null) {
      close(channel);
      throw new FolderInUseException(folder, holder(file), instead);
    }
    sign(channel);
    return channel;
  }

  private static void sign(FileChannel channel) {
    String name =
        "process %d (since %s)"
            .formatted(
                ProcessHandle.current().pid(), Instant.now().truncatedTo(ChronoUnit.SECONDS));
    try {
      channel.truncate(0);
      channel.write(ByteBuffer.wrap(name.getBytes(StandardCharsets.UTF_8)), 0);
    } catch (IOException e) { // a full disk
      LOG.log(Level.FINE, e, () -> "the holder of a lock stays unnamed");
    }
  }

  private static String holder(Path file) {
    try {
      String name = Files.readString(file).strip();
      return name.isEmpty() ? "another process" : name;
    } catch (IOException e) {
      return "another process";
    }
  }

  private static void close(FileChannel channel) {
    try {
      channel.close();
    } catch (IOException e) {
      LOG.log(Level.FINE, e, () -> "closing a lock");
    }
  }

  /** Gives all folders back. */
  @Override
  public synchronized void close() {
    mine.forEach(
        (folder, channel) -> {
          close(channel);
          HELD.remove(folder);
        });
    mine.clear();
  }
}
