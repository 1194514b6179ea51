/**
 * The node of the embedded cluster: it runs each pod as a process of this machine, under an address
 * of its own, and reports as a kubelet would. {@link dev.perigee.cli.cluster.node.LocalNode} is the
 * table of contents.
 *
 * <p>What a process cannot be given is not pretended: images are not pulled (their names stand for
 * programs of this checkout), security contexts and resource limits are not enforced (but a memory
 * limit sizes the JVM), and pods with init containers or several containers are refused.
 */
package dev.perigee.cli.cluster.node;
