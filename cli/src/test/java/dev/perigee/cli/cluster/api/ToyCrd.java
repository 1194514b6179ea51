package dev.perigee.cli.cluster.api;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/** A small kind with a bit of everything that a schema can have. */
public final class ToyCrd {
  /** Its definition. */
  public static final String YAML =
      """
      apiVersion: apiextensions.k8s.io/v1
      kind: CustomResourceDefinition
      metadata: {name: toys.example.dev}
      spec:
        group: example.dev
        scope: Namespaced
        names: {plural: toys, singular: toy, kind: Toy, shortNames: [ty]}
        versions:
        - name: v1
          served: true
          storage: true
          subresources: {status: {}}
          additionalPrinterColumns:
          - {name: Size, type: integer, jsonPath: .spec.size}
          - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
          - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
          schema:
            openAPIV3Schema:
              type: object
              required: [spec]
              properties:
                spec:
                  description: What the toy is.
                  type: object
                  required: [size]
                  x-kubernetes-validations:
                  - {rule: 'self.size % 2 == 0', message: size must be even}
                  - {rule: 'self.color == oldSelf.color', message: color is immutable, fieldPath: .color}
                  - rule: '!has(self.weight) || self.weight < double(self.size) * 10.0'
                    messageExpression: "self.size < 10 ? 'too heavy for a small one' : 'too heavy'"
                  properties:
                    size: {type: integer, minimum: 1, maximum: 100, description: How large it is.}
                    color: {type: string, enum: [red, blue], default: red}
                    weight: {type: number, minimum: 0, exclusiveMinimum: true}
                    label: {type: string, pattern: '^[a-z]+$', minLength: 2, maxLength: 8}
                    port: {x-kubernetes-int-or-string: true}
                    note: {type: string, nullable: true}
                    tags: {type: array, x-kubernetes-list-type: set, maxItems: 3, items: {type: string}}
                    limits: {type: object, additionalProperties: {type: integer}}
                    free: {type: object, x-kubernetes-preserve-unknown-fields: true}
                    parts:
                      type: array
                      x-kubernetes-list-type: map
                      x-kubernetes-list-map-keys: [name]
                      items:
                        type: object
                        required: [name]
                        properties:
                          name: {type: string}
                          count: {type: integer, default: 3}
                          kind: {type: string}
                status:
                  type: object
                  properties:
                    conditions:
                      type: array
                      items:
                        type: object
                        properties: {type: {type: string}, status: {type: string}}
      """;

  private ToyCrd() {}

  /** An object from YAML. */
  public static ObjectNode yaml(String yaml) {
    try {
      return (ObjectNode) Json.parse(yaml.getBytes(StandardCharsets.UTF_8), true);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A toy of that name and specification, in YAML flow style. */
  public static ObjectNode toy(String name, String spec) {
    return yaml(
        "apiVersion: example.dev/v1\nkind: Toy\nmetadata: {name: " + name + "}\nspec: " + spec);
  }

  /** The kind. */
  public static ResourceType type() {
    return ResourceCatalog.typesOf(yaml(YAML)).getFirst();
  }
}
