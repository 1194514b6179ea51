/**
 * Ranks that work together. Read {@link dev.perigee.engine.parallel.Collectives} (what they do) and
 * {@link dev.perigee.engine.parallel.Fabric} (how they are connected) first.
 *
 * <pre>
 * Fabric             a pod's connections; ranks as threads
 * ├ Rendezvous       pods meet: Hello, checked on both sides
 * ├ PeerLink         one TCP connection: Frames, heartbeats, goodbye
 * ├ Alarm            ends everything when a peer is lost; others hear of it as a Fellowship
 * └ Group            what the ranks of a group that share a pod lay open to each other
 *   GroupCollectives the operations of one rank
 *   ├ TreeReducer    sums of tensors in the order of ReductionTree
 *   ├ RowExchange    rows to and from every rank, once for each pair of pods
 *   └ SmallExchange  a few numbers, once for each pod
 * </pre>
 */
package dev.perigee.engine.parallel;
