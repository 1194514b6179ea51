package dev.perigee.images;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Images as {@code docker save} writes them. */
class DockerArchiveTest {
  private static final long SIZE = 64 << 20;

  /** One with CUDA's libraries has several GiB, which no array holds. */
  @Test
  void aRootFileSystemIsNotHeldInMemory(@TempDir Path folder) throws IOException {
    Path root = folder.resolve("root.tar");
    try (RandomAccessFile file = new RandomAccessFile(root.toFile(), "rw")) {
      file.setLength(SIZE); // takes no room on the disk
    }
    Path image = folder.resolve("image.tar");
    long before = allocated();
    DockerArchive.ofRootFileSystem(root, image, "amd64");
    assertThat(allocated() - before).as("bytes of memory").isLessThan(SIZE / 4);
    try (TarArchiveInputStream in = BaseImage.open(image)) {
      TarArchiveEntry config = in.getNextEntry();
      assertThat(config.getName()).isEqualTo("config.json");
      assertThat(DockerArchive.JSON.readTree(in.readAllBytes()).at("/rootfs/diff_ids/0").asText())
          .as("as sha256sum says")
          .isEqualTo("sha256:3b6a07d0d404fab4e23b6d34bc6696a6a312dd92821332385e5af7c01c421351");
      assertThat(in.getNextEntry().getSize()).isEqualTo(SIZE);
    }
  }

  /** By this thread, since it began. */
  private static long allocated() {
    return ((ThreadMXBean) ManagementFactory.getThreadMXBean()).getCurrentThreadAllocatedBytes();
  }
}
