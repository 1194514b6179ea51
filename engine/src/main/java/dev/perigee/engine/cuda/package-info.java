/**
 * NVIDIA GPUs: the backend, over {@link dev.perigee.engine.cuda.driver} and {@link
 * dev.perigee.engine.cuda.kernels}. Nothing of it is loaded on a machine without a driver; ask
 * {@link dev.perigee.engine.cuda.driver.Cuda}.
 *
 * <ul>
 *   <li>{@link dev.perigee.engine.cuda.CudaBackend}: every operation of a model on one GPU. {@link
 *       dev.perigee.engine.cuda.CudaProducts}, {@link dev.perigee.engine.cuda.CudaLayers}, {@link
 *       dev.perigee.engine.cuda.CudaAttention}, {@link dev.perigee.engine.cuda.CudaExperts}, {@link
 *       dev.perigee.engine.cuda.CudaHead} and {@link dev.perigee.engine.cuda.CudaUpdates} choose
 *       among kernels; {@link dev.perigee.engine.cuda.FloatKernels} are the plain ones, for any
 *       size.
 *   <li>{@link dev.perigee.engine.cuda.Work}: what operations are put together with; {@link
 *       dev.perigee.engine.cuda.Product}s are {@link dev.perigee.engine.cuda.Cublas}' or {@link
 *       dev.perigee.engine.cuda.TiledProduct}s.
 *   <li>{@link dev.perigee.engine.cuda.TensorMemory}: where tensors live; {@link
 *       dev.perigee.engine.cuda.Staging}: the way of small things to the host and back; {@link
 *       dev.perigee.engine.cuda.PinnedStore}: of activations that are not needed for a while.
 *   <li>{@link dev.perigee.engine.cuda.CudaRoutine}: steps that are captured once and replayed,
 *       with {@link dev.perigee.engine.cuda.CudaSum} and {@link dev.perigee.engine.cuda.CudaRates}
 *       for what comes out of them and goes in.
 *   <li>{@link dev.perigee.engine.cuda.nccl}: how tensors travel between ranks, from GPU to GPU
 *       where that is possible; {@link dev.perigee.engine.cuda.DeviceTensors} is what it knows of
 *       them.
 * </ul>
 */
package dev.perigee.engine.cuda;
