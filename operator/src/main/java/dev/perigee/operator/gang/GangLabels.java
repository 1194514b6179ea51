package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.HasMetadata;
import java.util.Map;

/** Labels on everything that a gang consists of. */
public final class GangLabels {
  /** Kind of the job. */
  public static final String KIND = "perigee.dev/kind";

  /** Name of the job. */
  public static final String JOB = "perigee.dev/job";

  /** Index of a pod in its gang, from 0. */
  public static final String POD_INDEX = "perigee.dev/pod-index";

  /** Which start of the gang a pod belongs to, from 1; 0 for a spare, which belongs to none yet. */
  public static final String GENERATION = "perigee.dev/generation";

  /** How many pods the gang has. */
  public static final String SIZE = "perigee.dev/gang-size";

  /** Number of the expert group that a pod's ranks belong to, from 0. */
  public static final String EXPERT_GROUP = "perigee.dev/expert-group";

  /**
   * Annotation of a pod that was kept over a restart: how often its container had been started
   * again by then.
   */
  public static final String ADOPTED = "perigee.dev/adopted-restarts";

  /**
   * Annotation of a pod whose kubelet was made to show it the addresses of a start: which start.
   */
  public static final String SHOWN = "perigee.dev/peers-shown";

  private GangLabels() {}

  /** The start whose addresses a pod's kubelet was last made to show it, 0 for none. */
  static int shown(HasMetadata pod) {
    Map<String, String> annotations = pod.getMetadata().getAnnotations();
    return number(annotations == null ? null : annotations.get(SHOWN), 0);
  }

  /** Restarts of the container that are known and dealt with. */
  static int adoptedRestarts(HasMetadata pod) {
    Map<String, String> annotations = pod.getMetadata().getAnnotations();
    return number(annotations == null ? null : annotations.get(ADOPTED), 0);
  }

  /** Which start an object belongs to, -1 when its label is not a number. */
  static int generation(HasMetadata object) {
    return number(object, GENERATION);
  }

  /** The number that a label holds, -1 when it holds none. */
  static int number(HasMetadata object, String label) {
    Map<String, String> labels = object.getMetadata().getLabels();
    return number(labels == null ? null : labels.get(label), -1);
  }

  private static int number(String text, int otherwise) {
    try {
      return text == null ? otherwise : Integer.parseInt(text);
    } catch (NumberFormatException e) {
      return otherwise;
    }
  }

  /** Labels that select all of a job's objects. */
  public static Map<String, String> of(String kind, String job) {
    return Map.of(KIND, kind, JOB, job, "app.kubernetes.io/managed-by", "perigee");
  }
}
