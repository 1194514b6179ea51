/**
 * Who lets a gang in as a whole, and where its pods go. {@link
 * dev.perigee.operator.placement.SchedulerDiscovery} finds out what the API server serves, {@link
 * dev.perigee.operator.placement.Placements} chooses, and a {@link
 * dev.perigee.operator.placement.Placement} adds to the pods what its scheduler reads: {@link
 * dev.perigee.operator.placement.Unmanaged nothing}, {@link
 * dev.perigee.operator.placement.KueuePlacement Kueue's plain pod groups}, {@link
 * dev.perigee.operator.placement.VolcanoPlacement Volcano's PodGroup} or {@link
 * dev.perigee.operator.placement.PodGroupPlacement that of Kubernetes}. {@link
 * dev.perigee.operator.placement.QueuePosition} reads why a queue waits, and {@link
 * dev.perigee.operator.placement.OrphanedGroups} gives back what a deleted job left at one. All but
 * the discovery and these two are pure.
 */
package dev.perigee.operator.placement;
