package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.Service;
import java.util.List;

/**
 * What should be in the cluster for one start of a gang.
 *
 * @param generation which start this is, from 1
 * @param service the headless Service that gives pods their names
 * @param configMap run configuration and rank map
 * @param pods one for each index, in order
 */
public record GangPlan(int generation, Service service, ConfigMap configMap, List<Pod> pods) {
  public GangPlan {
    pods = List.copyOf(pods);
  }
}
