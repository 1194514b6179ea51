package dev.perigee.run;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import java.util.List;

/**
 * Who is where, owned and published by the operator (file {@code ranks.json} beside {@code
 * run.json}). Every pod reads the same map and finds itself by its index.
 *
 * @param generation counts the gang's starts; peers with another generation are refused
 * @param pods one entry for each pod, ordered by pod index
 */
@JsonIgnoreProperties(ignoreUnknown = true)
public record RankMap(int generation, List<Pod> pods) {

  /**
   * One pod of the gang.
   *
   * @param index the pod's index, from 0; pod 0 holds rank 0
   * @param name the host name that peers use, for example {@code demo-0.demo.default.svc}
   * @param ip the pod's address when the operator knows it, else null
   * @param ranks the global ranks in this pod, ascending
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  public record Pod(int index, String name, String ip, List<Integer> ranks) {}

  public RankMap {
    pods = pods == null ? List.of() : List.copyOf(pods);
  }

  /**
   * The pod that holds a rank.
   *
   * @throws IllegalArgumentException when no pod holds it
   */
  public Pod podOf(int rank) {
    for (Pod pod : pods) {
      if (pod.ranks().contains(rank)) {
        return pod;
      }
    }
    throw new IllegalArgumentException("rank " + rank + " is in no pod of the rank map");
  }
}
