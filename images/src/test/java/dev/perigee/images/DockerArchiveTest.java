package dev.perigee.images;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Path;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Images as {@code docker save} writes them. */
class DockerArchiveTest {
  /** What a root file system with CUDA's libraries may take; no array holds so much. */
  private static final long LARGE = 1L << 31;

  @Test
  void aLargeRootFileSystemIsNotHeldInMemory(@TempDir Path folder) throws IOException {
    Path root = folder.resolve("root.tar");
    try (RandomAccessFile file = new RandomAccessFile(root.toFile(), "rw")) {
      file.setLength(LARGE); // takes no room on the disk
    }
    Path image = folder.resolve("image.tar");
    DockerArchive.ofRootFileSystem(root, image, "amd64");
    try (TarArchiveInputStream in = BaseImage.open(image)) {
      TarArchiveEntry config = in.getNextEntry();
      assertThat(config.getName()).isEqualTo("config.json");
      assertThat(DockerArchive.JSON.readTree(in.readAllBytes()).at("/rootfs/diff_ids/0").asText())
          .as("as sha256sum says")
          .isEqualTo("sha256:a7c744c13cc101ed66c29f672f92455547889cc586ce6d44fe76ae824958ea51");
      assertThat(in.getNextEntry().getSize()).isEqualTo(LARGE);
    }
  }
}
