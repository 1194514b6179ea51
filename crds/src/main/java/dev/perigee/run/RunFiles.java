package dev.perigee.run;

/**
 * Where a program finds its files and what its environment says. Paths are relative to the
 * program's root.
 */
public final class RunFiles {
  /** The root in a container. */
  public static final String CONTAINER_ROOT = "/perigee";

  /** Environment variable that names the root elsewhere. */
  public static final String ROOT_VARIABLE = "PERIGEE_ROOT";

  /** Environment variable with the pod's index in the gang. */
  public static final String POD_INDEX_VARIABLE = "PERIGEE_POD_INDEX";

  /**
   * Environment variable of a spare pod, in place of its index: its own name, by which the rank map
   * of a later start may give it a place.
   */
  public static final String SPARE_VARIABLE = "PERIGEE_SPARE";

  /** Environment variable with the pod's own address, which HTTP and peers are bound to. */
  public static final String POD_IP_VARIABLE = "PERIGEE_POD_IP";

  /** Environment variable with the seconds between SIGTERM and SIGKILL. */
  public static final String GRACE_VARIABLE = "PERIGEE_GRACE_SECONDS";

  /** Folder of the two files that the operator writes; read-only. */
  public static final String RUN_FOLDER = "run";

  /** {@link RunConfig} in {@link #RUN_FOLDER}. */
  public static final String RUN_CONFIG = "run.json";

  /** {@link RankMap} in {@link #RUN_FOLDER}. */
  public static final String RANK_MAP = "ranks.json";

  /**
   * Folder that gets a {@link #RANK_MAP} with addresses once all pods have one, for clusters whose
   * names do not resolve; empty before, absent for a gang of one pod.
   */
  public static final String PEERS_FOLDER = "peers";

  /**
   * Folder that outlives the container but not the pod; absent for pods whose containers are never
   * started again.
   */
  public static final String STATE_FOLDER = "state";

  /** Folder of checkpoints. */
  public static final String CHECKPOINTS_FOLDER = "checkpoints";

  /** Folder with one entry for each data source that is not built in, by its name; read-only. */
  public static final String DATA_FOLDER = "data";

  /** Folder of the tokenizer's files; read-only. */
  public static final String TOKENIZER_FOLDER = "tokenizer";

  /** Folder of the checkpoint that training continues from; read-only. */
  public static final String MODEL_FOLDER = "model";

  /**
   * The container's termination message. A program writes its last {@link RunStatus} here before it
   * exits, as JSON of at most 4096 bytes, so that the final numbers (or the one line that says what
   * was wrong) outlive it. A plain line is taken as the message.
   */
  public static final String TERMINATION_LOG = "termination-log";

  private RunFiles() {}
}
