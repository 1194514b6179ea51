package dev.perigee.cli.cluster.node;

import java.nio.file.FileSystemException;
import java.nio.file.Path;

/** Another cluster writes to a folder. */
public final class FolderInUseException extends FileSystemException {
  private static final long serialVersionUID = 1L;

  FolderInUseException(Path folder, String holder, String instead) {
    super(
        folder.toString(),
        null,
        "in use by "
            + holder
            + "; wait for its end, or end it (kill -INT: it saves first), or "
            + instead);
  }
}
