/** The cluster in one process: {@link dev.perigee.cli.cluster.EmbeddedCluster}. */
package dev.perigee.cli.cluster;
