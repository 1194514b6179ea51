package dev.perigee.operator;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.perigee.api.PretrainJob;
import io.fabric8.kubernetes.api.model.authorization.v1.SelfSubjectAccessReview;
import io.fabric8.kubernetes.api.model.authorization.v1.SelfSubjectAccessReviewBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.KubernetesClientException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/**
 * What {@code helm test} runs against an installed chart: {@code rights} asks, as the operator's
 * own account, whether it may do what it has to and nothing that it must not; {@code plans} asks
 * the API server to accept a good manifest and to refuse a bad one, without keeping either.
 */
public final class InstallCheck {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** What the operator must not be able to do. */
  private static final List<Rights> FORBIDDEN =
      List.of(
          new Rights("", "secrets", List.of("get", "list", "watch")),
          new Rights(PretrainJob.GROUP, "pretrainjobs", List.of("update", "patch")),
          new Rights("", "pods/exec", List.of("create")),
          new Rights("", "pods/ephemeralcontainers", List.of("patch")),
          new Rights("", "serviceaccounts/token", List.of("create")),
          new Rights("rbac.authorization.k8s.io", "roles", List.of("create", "bind", "escalate")));

  private InstallCheck() {}

  /**
   * Checks, says what it found, and exits with 1 when something is wrong.
   *
   * @param args {@code rights NAMESPACES ELECTION_NAMESPACE} (separated by commas; {@code *} for
   *     all), or {@code plans NAMESPACE}
   */
  public static void main(String[] args) {
    List<String> problems;
    try (KubernetesClient client = new KubernetesClientBuilder().build()) {
      problems =
          args.length == 3 && args[0].equals("rights")
              ? Stream.of(args[1].split(",", -1))
                  .flatMap(namespace -> rights(client, namespace, args[2]).stream())
                  .distinct()
                  .toList()
              : args.length == 2 && args[0].equals("plans")
                  ? plans(client, args[1])
                  : List.of("expected: rights NAMESPACES ELECTION_NAMESPACE, or plans NAMESPACE");
    } catch (KubernetesClientException e) {
      problems = List.of(e.getMessage());
    }
    problems.forEach(problem -> System.err.println("perigee: " + problem));
    System.out.println(problems.isEmpty() ? "ok" : problems.size() + " problems");
    System.exit(problems.isEmpty() ? 0 : 1);
  }

  /** What the client's account lacks or has too much; empty when nothing. */
  public static List<String> rights(
      KubernetesClient client, String namespace, String electionNamespace) {
    List<String> problems = new ArrayList<>();
    for (Rights needed : Rights.OF_JOBS) {
      lacking(client, namespace, needed, problems);
    }
    if (namespace.equals("*")) {
      for (Rights needed : Rights.OF_CLUSTER) {
        lacking(client, namespace, needed, problems);
      }
    }
    for (Rights needed : Rights.OF_ELECTION) {
      lacking(client, electionNamespace, needed, problems);
    }
    for (Rights forbidden : FORBIDDEN) {
      for (String verb : forbidden.verbs()) {
        if (may(client, namespace, forbidden, verb)) {
          problems.add("must not be allowed: " + said(verb, forbidden, namespace));
        }
      }
    }
    return problems;
  }

  private static void lacking(
      KubernetesClient client, String namespace, Rights needed, List<String> problems) {
    for (String verb : needed.verbs()) {
      if (!may(client, namespace, needed, verb)) {
        problems.add("not allowed: " + said(verb, needed, namespace));
      }
    }
  }

  private static String said(String verb, Rights rights, String namespace) {
    String resource =
        rights.group().isEmpty() ? rights.resource() : rights.resource() + "." + rights.group();
    return verb
        + " "
        + resource
        + (namespace.equals("*") ? " in all namespaces" : " in namespace " + namespace);
  }

  private static boolean may(
      KubernetesClient client, String namespace, Rights rights, String verb) {
    String[] resource = rights.resource().split("/", 2);
    SelfSubjectAccessReview review =
        new SelfSubjectAccessReviewBuilder()
            .withNewSpec()
            .withNewResourceAttributes()
            .withNamespace(namespace.equals("*") ? null : namespace)
            .withGroup(rights.group())
            .withResource(resource[0])
            .withSubresource(resource.length > 1 ? resource[1] : null)
            .withVerb(verb)
            .endResourceAttributes()
            .endSpec()
            .build();
    return client.resource(review).create().getStatus().getAllowed();
  }

  /** What is wrong with how the API server judges manifests; empty when nothing. */
  public static List<String> plans(KubernetesClient client, String namespace) {
    List<String> problems = new ArrayList<>();
    JsonNode good = manifest();
    try {
      create(client, namespace, good);
    } catch (KubernetesClientException e) {
      problems.add("a good manifest is refused: " + e.getMessage());
    }
    ObjectNode bad = good.deepCopy();
    bad.withObject("/spec/parallelism").put("data", 6).put("expert", 4);
    try {
      create(client, namespace, bad);
      problems.add("a plan whose expert groups do not divide its ranks is accepted");
    } catch (KubernetesClientException e) {
      if (e.getCode() != 422 || !e.getMessage().contains("parallelism.expert: 4 does not divide")) {
        problems.add("a bad plan is refused for another reason: " + e.getMessage());
      }
    }
    return problems;
  }

  private static void create(KubernetesClient client, String namespace, JsonNode manifest) {
    client.raw(
        "/apis/%s/%s/namespaces/%s/pretrainjobs?dryRun=All&fieldValidation=Strict"
            .formatted(PretrainJob.GROUP, PretrainJob.VERSION, namespace),
        "POST",
        manifest);
  }

  private static JsonNode manifest() {
    try (InputStream in = InstallCheck.class.getResourceAsStream("install-check.json")) {
      return JSON.readTree(in);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
