package dev.perigee.engine.parallel;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;

/**
 * What two pods tell each other before anything else, so that ranks of different jobs, of different
 * starts of a gang, or with different run configurations never mix their numbers.
 *
 * @param job name of the job, {@code namespace/name}
 * @param generation start of the gang that the pod belongs to
 * @param pods pods in the gang
 * @param pod index of the pod that speaks
 * @param digest of the run configuration
 */
record Hello(String job, int generation, int pods, int pod, String digest) {
  /** Longest text of a greeting in bytes. */
  private static final int MAX_TEXT = 1024;

  private static final byte[] MAGIC = "PERIGEE1".getBytes(StandardCharsets.US_ASCII);

  /** What one pod makes of another's greeting. */
  sealed interface Verdict {
    /** It is the expected peer. */
    record Welcome() implements Verdict {}

    /** It is not, and no further attempt of its can change that. */
    record Refused(String why) implements Verdict {}

    /**
     * It looks for another: for a later start of this pod, which will soon be gone, or for a pod
     * whose address this one has now, which its name will soon no longer lead to. Another attempt
     * may find the right one.
     */
    record Later(String why) implements Verdict {}
  }

  /** What this pod makes of another's greeting. */
  Verdict judge(Hello other) {
    if (!other.job.equals(job)) {
      return new Verdict.Later("it is no pod of job " + other.job + " but of job " + job);
    }
    if (other.generation > generation) {
      return new Verdict.Later(
          "it belongs to start "
              + other.generation
              + " of the gang, this one still to start "
              + generation);
    }
    if (other.generation < generation) {
      return new Verdict.Refused(
          "it belongs to start "
              + other.generation
              + " of the gang, this one to the newer start "
              + generation);
    }
    if (other.pods != pods) {
      return new Verdict.Refused("its gang has " + other.pods + " pods, that of this one " + pods);
    }
    if (!other.digest.equals(digest)) {
      return new Verdict.Refused(
          "its run configuration has the digest "
              + other.digest
              + ", that of this one "
              + digest
              + "; all pods of a job must read the same run.json");
    }
    return new Verdict.Welcome();
  }

  /** Writes this greeting. */
  void write(DataOutputStream out) throws IOException {
    out.write(MAGIC);
    out.writeInt(generation);
    out.writeInt(pods);
    out.writeInt(pod);
    writeText(out, job);
    writeText(out, digest);
    out.flush();
  }

  /**
   * Reads a greeting.
   *
   * @throws Frame.MalformedException when the bytes are not one
   */
  static Hello read(DataInputStream in) throws IOException {
    byte[] magic = in.readNBytes(MAGIC.length);
    if (!java.util.Arrays.equals(magic, MAGIC)) {
      throw new Frame.MalformedException(
          "it greets with the bytes " + HexFormat.of().formatHex(magic));
    }
    int generation = in.readInt();
    int pods = in.readInt();
    int pod = in.readInt();
    return new Hello(readText(in), generation, pods, pod, readText(in));
  }

  static void writeText(DataOutputStream out, String text) throws IOException {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    int length = Math.min(bytes.length, MAX_TEXT);
    out.writeInt(length);
    out.write(bytes, 0, length);
  }

  static String readText(DataInputStream in) throws IOException {
    int length = in.readInt();
    if (length < 0 || length > MAX_TEXT) {
      throw new Frame.MalformedException("its greeting claims a text of " + length + " bytes");
    }
    byte[] bytes = in.readNBytes(length);
    if (bytes.length < length) {
      throw new java.io.EOFException();
    }
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
