/**
 * How tensors travel between the GPUs of a job's ranks.
 *
 * <ul>
 *   <li>{@link dev.perigee.engine.cuda.nccl.GpuGroups}: what ranks agree on, and a rank's groups.
 *   <li>{@link dev.perigee.engine.cuda.nccl.NcclCollectives}: a group's operations; {@link
 *       dev.perigee.engine.cuda.nccl.NcclPipeline}: what stages send each other, by a {@link
 *       dev.perigee.engine.cuda.nccl.NcclSender} and a {@link
 *       dev.perigee.engine.cuda.nccl.NcclReceiver} for each direction.
 *   <li>{@link dev.perigee.engine.cuda.nccl.NcclMember}: a rank's place in a communicator, and how
 *       it ends when a peer is lost; {@link dev.perigee.engine.cuda.nccl.Rooms}: memory for what is
 *       under way.
 *   <li>{@link dev.perigee.engine.cuda.nccl.Nccl}: the library's calls, by {@link
 *       dev.perigee.engine.cuda.nccl.NcclLibrary}.
 * </ul>
 */
package dev.perigee.engine.cuda.nccl;
