/**
 * The resources as Java types. Read {@link dev.perigee.api.PretrainJob} first, then {@link
 * dev.perigee.api.PretrainJobSpec} (what a person asks for) and {@link
 * dev.perigee.api.PretrainJobStatus} (what came of it).
 *
 * <p>The custom resource definitions in {@code crds/yaml} are generated from these types: schema,
 * defaults, bounds and CEL rules are the annotations here, descriptions are those that {@code
 * kubectl explain} prints. {@code ./perigee test -pl crds -Dperigee.regenerate=true} writes them
 * anew; a test fails while they are stale. Defaults live in the schema only, so a specification
 * that did not pass through an API server lacks them.
 */
package dev.perigee.api;
