package dev.perigee.engine.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FoldersTest {
  @TempDir Path place;

  @Test
  void linksAreDeletedAndNotWhatTheyLeadTo() throws IOException {
    Path kept = Files.createDirectories(place.resolve("kept"));
    Files.writeString(kept.resolve("file"), "mine");
    Path folder = Files.createDirectories(place.resolve("folder/inner")).getParent();
    Files.writeString(folder.resolve("inner/file"), "x");
    Files.createSymbolicLink(folder.resolve("there"), kept);
    Files.createSymbolicLink(folder.resolve("nowhere"), place.resolve("gone"));

    Folders.delete(folder);

    assertThat(folder).doesNotExist();
    assertThat(kept.resolve("file")).hasContent("mine");
  }

  @Test
  void aLinkThatLeadsNowhereIsDeletedToo() throws IOException {
    Path link = Files.createSymbolicLink(place.resolve("link"), place.resolve("gone"));

    Folders.delete(link);
    Folders.delete(link); // and what is not there is no error

    assertThat(Files.exists(link, LinkOption.NOFOLLOW_LINKS)).isFalse();
  }
}
