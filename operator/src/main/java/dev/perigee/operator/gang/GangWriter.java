package dev.perigee.operator.gang;

import io.fabric8.kubernetes.api.Pluralize;
import io.fabric8.kubernetes.api.model.GenericKubernetesResource;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.api.model.OwnerReference;
import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.api.model.Status;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.fabric8.kubernetes.client.dsl.base.PatchContext;
import io.fabric8.kubernetes.client.dsl.base.PatchType;
import io.fabric8.kubernetes.client.dsl.base.ResourceDefinitionContext;
import io.fabric8.kubernetes.client.utils.ApiVersionUtil;
import java.net.HttpURLConnection;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/**
 * Carries actions out: Service, NetworkPolicy and ConfigMap first and in order; then pods, many at
 * once but never more than the bound, so that a gang of a thousand does not swamp the API server.
 */
public final class GangWriter {
  /** The one field manager of everything that the operator applies. */
  public static final String FIELD_MANAGER = "perigee-operator";

  private static final int AT_ONCE = 32;

  private final KubernetesClient client;
  private final String namespace;
  private final Consumer<HasMetadata> create;
  private final Consumer<HasMetadata> apply;

  /**
   * A writer for one namespace.
   *
   * @param create creates an object and remembers it, so that the next look sees it even when the
   *     watch has not told of it yet
   * @param apply the same for server-side apply as {@link #FIELD_MANAGER}
   */
  public GangWriter(
      KubernetesClient client,
      String namespace,
      Consumer<HasMetadata> create,
      Consumer<HasMetadata> apply) {
    this.client = client;
    this.namespace = namespace;
    this.create = create;
    this.apply = apply;
  }

  /**
   * Carries the actions out. Each can be repeated safely: a pod that is already there, or already
   * gone, is no error.
   *
   * @throws KubernetesClientException when the API server refuses one, with its verb and object;
   *     other pods are still tried
   */
  public void write(List<GangAction> actions) {
    List<Callable<Void>> podActions = new ArrayList<>();
    for (GangAction action : actions) {
      if (isOfPod(action)) {
        podActions.add(
            () -> {
              write(action);
              return null;
            });
      } else {
        write(action);
      }
    }
    inParallel(podActions);
  }

  private static boolean isOfPod(GangAction action) {
    return action instanceof GangAction.CreatePod
        || action instanceof GangAction.DeletePod
        || action instanceof GangAction.AdoptPod
        || action instanceof GangAction.ShowPeers;
  }

  private void write(GangAction action) {
    try {
      switch (action) {
        case GangAction.ApplyService(var service) -> createOrApply(service);
        case GangAction.UpdateService(var service) -> apply.accept(service);
        case GangAction.ApplyConfigMap(var configMap) -> createOrApply(configMap);
        case GangAction.ApplyNetworkPolicy(var policy) -> createOrApply(policy);
        case GangAction.AdoptPod(var name, var uid, var index, var generation, var restarts) ->
            change(name, adoption(uid, index, generation, restarts));
        case GangAction.ShowPeers(var name, var uid, var generation) ->
            change(name, shown(uid, generation));
        case GangAction.CreateConfigMap(var configMap) -> createUnlessThere(configMap);
        case GangAction.DeleteConfigMap(var name) ->
            client.configMaps().inNamespace(namespace).withName(name).delete();
        case GangAction.CreateGroup(var group) -> createGroupUnlessThere(group);
        case GangAction.DeleteGroup(var apiVersion, var plural, var name) ->
            unless(
                HttpURLConnection.HTTP_NOT_FOUND,
                () -> client.raw(path(apiVersion, plural, name), "DELETE", null));
        case GangAction.CreatePod(var pod) -> createUnlessThere(pod);
        case GangAction.DeletePod(var name, var uid, var grace) ->
            ExactDeletion.delete(
                client,
                "/api/v1/namespaces/" + namespace + "/pods/" + name,
                uid,
                options -> options.withGracePeriodSeconds(grace));
      }
    } catch (RefusedWrite e) {
      throw e; // says already what was wanted
    } catch (KubernetesClientException e) {
      throw new RefusedWrite(wanted(action), e);
    }
  }

  /** An action in a verb of the API and its object. */
  private static String wanted(GangAction action) {
    return switch (action) {
      case GangAction.ApplyService(var service) -> "apply " + named(service);
      case GangAction.UpdateService(var service) -> "apply " + named(service);
      case GangAction.ApplyConfigMap(var configMap) -> "apply " + named(configMap);
      case GangAction.ApplyNetworkPolicy(var policy) -> "apply " + named(policy);
      case GangAction.CreateConfigMap(var configMap) -> "create " + named(configMap);
      case GangAction.CreateGroup(var group) -> "create " + named(group);
      case GangAction.CreatePod(var pod) -> "create " + named(pod);
      case GangAction.AdoptPod adopted -> "patch Pod " + adopted.name();
      case GangAction.ShowPeers shown -> "patch Pod " + shown.name();
      case GangAction.DeletePod deleted -> "delete Pod " + deleted.name();
      case GangAction.DeleteConfigMap(var name) -> "delete ConfigMap " + name;
      case GangAction.DeleteGroup(var apiVersion, var plural, var name) ->
          "delete " + plural + " " + name;
    };
  }

  private static String named(HasMetadata object) {
    return object.getKind() + " " + object.getMetadata().getName();
  }

  /**
   * A group outlives the pods of its job by a moment, so a job that is created under the name of
   * one that was just deleted may find the earlier one's: its pods wait until that is gone.
   */
  private void createGroupUnlessThere(GenericKubernetesResource group) {
    try {
      createGroup(group);
    } catch (KubernetesClientException e) {
      if (e.getCode() != HttpURLConnection.HTTP_CONFLICT) {
        throw e;
      }
      String plural = plural(group);
      String name = group.getMetadata().getName();
      String json = client.raw(path(group.getApiVersion(), plural, name));
      if (json == null) {
        throw e; // another conflict, for example of a quota
      }
      var there =
          client.getKubernetesSerialization().unmarshal(json, GenericKubernetesResource.class);
      if (there.getMetadata().getDeletionTimestamp() != null
          || Collections.disjoint(owners(group), owners(there))) {
        throw isThereAlready(group, there);
      }
    }
  }

  private static String plural(GenericKubernetesResource group) {
    return Pluralize.toPlural(group.getKind()).toLowerCase(Locale.ROOT);
  }

  /** With its plural said: else the client would ask the API server for it, each time anew. */
  private void createGroup(GenericKubernetesResource group) {
    client
        .genericKubernetesResources(
            new ResourceDefinitionContext.Builder()
                .withGroup(ApiVersionUtil.trimGroup(group.getApiVersion()))
                .withVersion(ApiVersionUtil.trimVersion(group.getApiVersion()))
                .withKind(group.getKind())
                .withPlural(plural(group))
                .withNamespaced(true)
                .build())
        .inNamespace(namespace)
        .resource(group)
        .create();
  }

  /** Mostly it is not there yet, and creating costs the API server less than applying. */
  private void createOrApply(HasMetadata object) {
    if (!createUnlessThere(object)) {
      apply.accept(object);
    }
  }

  /**
   * Creates an object, if there is none of its name.
   *
   * @return whether it was created
   * @throws KubernetesClientException also when there is one that belongs to somebody else, which
   *     is theirs to keep
   */
  private boolean createUnlessThere(HasMetadata object) {
    try {
      create.accept(object);
      return true;
    } catch (KubernetesClientException e) {
      if (e.getCode() != HttpURLConnection.HTTP_CONFLICT) {
        throw e;
      }
      refuseIfForeign(object);
      return false;
    }
  }

  private void refuseIfForeign(HasMetadata wanted) {
    Set<String> owners = owners(wanted);
    client
        .resources(wanted.getClass())
        .inNamespace(namespace)
        .withField("metadata.name", wanted.getMetadata().getName())
        .list()
        .getItems()
        .stream()
        .filter(there -> Collections.disjoint(owners, owners(there)))
        .findFirst()
        .ifPresent(
            there -> {
              throw isThereAlready(wanted, there);
            });
  }

  private static RefusedWrite isThereAlready(HasMetadata wanted, HasMetadata there) {
    return new RefusedWrite(
        named(wanted)
            + (isOfNamesake(wanted, there)
                ? " is left of an earlier job of this name; waits until the cluster has"
                    + " deleted it"
                : " is there already and does not belong to this job; delete it, or create"
                    + " the job under another name"));
  }

  /** Whether the owner of what is there had the name of the owner of what is wanted. */
  private static boolean isOfNamesake(HasMetadata wanted, HasMetadata there) {
    return there.getMetadata().getOwnerReferences().stream()
        .anyMatch(
            theirs ->
                wanted.getMetadata().getOwnerReferences().stream()
                    .anyMatch(
                        ours ->
                            ours.getKind().equals(theirs.getKind())
                                && ours.getName().equals(theirs.getName())));
  }

  private static Set<String> owners(HasMetadata object) {
    return object.getMetadata().getOwnerReferences().stream()
        .map(OwnerReference::getUid)
        .collect(Collectors.toSet());
  }

  /**
   * A patch has the uid in it, which the API server refuses to change on another pod. The client is
   * given a pod of that name, else it would read it first, which takes a right of its own.
   */
  private void change(String pod, String patch) {
    Pod named =
        new PodBuilder()
            .withNewMetadata()
            .withNamespace(namespace)
            .withName(pod)
            .endMetadata()
            .build();
    try {
      client.resource(named).patch(PatchContext.of(PatchType.JSON_MERGE), patch);
    } catch (KubernetesClientException e) {
      if (!isGone(e)) {
        throw e;
      }
    }
  }

  /** Whether the pod is no more, or is another: the API server says that its uid cannot change. */
  private static boolean isGone(KubernetesClientException e) {
    return e.getCode() == HttpURLConnection.HTTP_NOT_FOUND
        || e.getCode() == HttpURLConnection.HTTP_CONFLICT
        || Optional.ofNullable(e.getStatus()).map(Status::getDetails).stream()
            .flatMap(details -> details.getCauses().stream())
            .anyMatch(cause -> "metadata.uid".equals(cause.getField()));
  }

  private static String adoption(String uid, int index, int generation, int restarts) {
    return """
    {"metadata": {"uid": "%s", "labels": {"%s": "%d", "%s": "%d"},
     "annotations": {"%s": "%d"}}}
    """
        .formatted(
            uid,
            GangLabels.POD_INDEX,
            index,
            GangLabels.GENERATION,
            generation,
            GangLabels.ADOPTED,
            restarts);
  }

  private static String shown(String uid, int generation) {
    return """
    {"metadata": {"uid": "%s", "annotations": {"%s": "%d"}}}
    """
        .formatted(uid, GangLabels.SHOWN, generation);
  }

  private String path(String apiVersion, String plural, String name) {
    return "/apis/" + apiVersion + "/namespaces/" + namespace + "/" + plural + "/" + name;
  }

  private static void unless(int ignoredCode, Runnable write) {
    try {
      write.run();
    } catch (KubernetesClientException e) {
      if (e.getCode() != ignoredCode) {
        throw e;
      }
    }
  }

  private static void inParallel(List<Callable<Void>> writes) {
    if (writes.isEmpty()) {
      return;
    }
    Semaphore permits = new Semaphore(AT_ONCE);
    List<Future<Void>> running = new ArrayList<>();
    try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
      for (Callable<Void> write : writes) {
        running.add(
            threads.submit(
                () -> {
                  permits.acquire();
                  try {
                    return write.call();
                  } finally {
                    permits.release();
                  }
                }));
      }
    }
    KubernetesClientException first = null;
    for (Future<Void> done : running) {
      try {
        done.get();
      } catch (ExecutionException e) {
        KubernetesClientException problem =
            e.getCause() instanceof KubernetesClientException k
                ? k
                : new KubernetesClientException("a write to the API server failed", e.getCause());
        if (first == null) {
          first = problem;
        } else {
          first.addSuppressed(problem);
        }
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new KubernetesClientException("interrupted while writing pods", e);
      }
    }
    if (first != null) {
      throw first;
    }
  }
}
