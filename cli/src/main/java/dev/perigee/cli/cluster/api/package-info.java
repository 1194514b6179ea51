/**
 * A Kubernetes API server in the process, small but honest: what {@code kubectl} and the operator
 * need, with the real one's rules and wording. It speaks plain HTTP on a loopback address and keeps
 * its objects in memory.
 *
 * <p>{@link dev.perigee.cli.cluster.api.ApiServer} is the table of contents: one route after the
 * other; {@link dev.perigee.cli.cluster.api.ObjectRequests} does the same for the routes of
 * objects. A write goes through {@link dev.perigee.cli.cluster.api.Registry}, which asks {@link
 * dev.perigee.cli.cluster.api.Admission} (schema, defaults, CEL, rules of built-in kinds) and
 * {@link dev.perigee.cli.cluster.api.FieldOwnership} (who set which field), and ends in {@link
 * dev.perigee.cli.cluster.api.ObjectStore}, from which every watch is fed.
 */
package dev.perigee.cli.cluster.api;
