package dev.perigee.engine.data;

import dev.perigee.run.RunConfig;
import java.nio.file.Path;
import java.util.Optional;

/** Text to token ids and back. Instances are immutable and shared by the ranks of a pod. */
public sealed interface Tokenizer permits ByteTokenizer, TiktokenTokenizer {
  /** One more than the largest id that {@link #encode}, {@link #begin} or {@link #end} gives. */
  int vocabSize();

  /** The id that begins a document. */
  int begin();

  /** The id that ends a document. */
  int end();

  /** The ids of a text, without begin and end. */
  int[] encode(String text);

  /**
   * The text of ids. Begin, end and other special ids are left out; bytes that are not UTF-8 become
   * the replacement character.
   */
  String decode(int[] ids);

  /** Of the file that it was read from, if there is one. */
  Optional<Fingerprint> fingerprint();

  /**
   * The tokenizer that a run asks for.
   *
   * @param root what a relative path is relative to
   * @throws DataException when its file is missing or not a ranks file
   */
  static Tokenizer of(RunConfig.Tokenizer config, Path root) throws DataException {
    return switch (config.kind()) {
      case bytes -> new ByteTokenizer();
      case tiktoken -> TiktokenTokenizer.read(root.resolve(config.path()));
    };
  }
}
