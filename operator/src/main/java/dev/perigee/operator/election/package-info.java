/**
 * Which replica works: the holder of a Lease. Replicas compare no clocks with each other; each
 * judges the Lease by when it saw it change, as client-go does. (Fabric8's elector, which JOSDK
 * uses, compares the time in the Lease with its own: a replica whose clock is ahead takes the Lease
 * from one that works, and one whose clock is behind waits for a dead one.)
 */
package dev.perigee.operator.election;
