/**
 * The CUDA driver from Java: as small as it can be, and without knowledge of what is computed.
 *
 * <ul>
 *   <li>{@link dev.perigee.engine.cuda.driver.Cuda}: is there a GPU, and if not, why.
 *   <li>{@link dev.perigee.engine.cuda.driver.Device}: one GPU: its context, memory, streams,
 *       modules.
 *   <li>{@link dev.perigee.engine.cuda.driver.DeviceArena}, {@link
 *       dev.perigee.engine.cuda.driver.DeviceBuffer}: memory owned by a scope.
 *   <li>{@link dev.perigee.engine.cuda.driver.Stream}: copies, launches, events and graphs, in
 *       order; {@link dev.perigee.engine.cuda.driver.Queue} and {@link
 *       dev.perigee.engine.cuda.driver.DeviceMemory} are where a test's fake stands in for the GPU.
 *   <li>{@link dev.perigee.engine.cuda.driver.Launch}: one kernel launch as data.
 *   <li>{@link dev.perigee.engine.cuda.driver.TensorMap}: what Hopper's copy engine is told of a
 *       tensor.
 * </ul>
 */
package dev.perigee.engine.cuda.driver;
