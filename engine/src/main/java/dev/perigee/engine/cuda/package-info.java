/**
 * NVIDIA GPUs: the driver layer and the operations whose kernels are in {@code src/main/cuda}.
 * Nothing of it is loaded on a machine without a driver; ask {@link dev.perigee.engine.cuda.Cuda}.
 *
 * <ul>
 *   <li>{@link dev.perigee.engine.cuda.Cuda}: is there a GPU, and if not, why.
 *   <li>{@link dev.perigee.engine.cuda.Device}: one GPU: its context, memory, streams, modules.
 *   <li>{@link dev.perigee.engine.cuda.DeviceArena}, {@link dev.perigee.engine.cuda.DeviceBuffer}:
 *       memory owned by a scope.
 *   <li>{@link dev.perigee.engine.cuda.Stream}: copies, launches, events and graphs, in order.
 *   <li>{@link dev.perigee.engine.cuda.Launch}: one kernel launch as data; {@link
 *       dev.perigee.engine.cuda.Launcher} is where a test's fake stands in for the GPU.
 *   <li>{@link dev.perigee.engine.cuda.CudaBackend}: every operation of a model on one GPU, put
 *       together with {@link dev.perigee.engine.cuda.Work} from {@link
 *       dev.perigee.engine.cuda.Product}s ({@link dev.perigee.engine.cuda.Cublas}, or {@link
 *       dev.perigee.engine.cuda.TiledProduct}), {@link dev.perigee.engine.cuda.FloatKernels} and
 *       {@link dev.perigee.engine.cuda.CudaAttention}; tensors live in {@link
 *       dev.perigee.engine.cuda.TensorMemory}, and what crosses to the host goes through {@link
 *       dev.perigee.engine.cuda.Staging}.
 *   <li>{@link dev.perigee.engine.cuda.CudaRoutine}: steps that are captured once and replayed,
 *       with {@link dev.perigee.engine.cuda.CudaSum} and {@link dev.perigee.engine.cuda.CudaRates}
 *       for what comes out of them and goes in.
 *   <li>{@link dev.perigee.engine.cuda.GpuGroups}: how tensors travel between ranks; {@link
 *       dev.perigee.engine.cuda.NcclCollectives}: from GPU to GPU, through {@link
 *       dev.perigee.engine.cuda.Nccl}.
 *   <li>{@link dev.perigee.engine.cuda.TensorMap}: what Hopper's copy engine is told of a tensor.
 *   <li>{@link dev.perigee.engine.cuda.MoeLayer}: an expert layer, forward and backward, made of
 *       {@link dev.perigee.engine.cuda.Router}, {@link dev.perigee.engine.cuda.Dispatch}, {@link
 *       dev.perigee.engine.cuda.GroupedGemm} and {@link dev.perigee.engine.cuda.SwiGlu}.
 *   <li>{@link dev.perigee.engine.cuda.MlaPrefill}: latent attention for training; {@link
 *       dev.perigee.engine.cuda.MlaDecode}: absorbed, over a paged cache.
 *   <li>{@link dev.perigee.engine.cuda.LinearCrossEntropy}: the head and the loss without the
 *       logits of all tokens.
 *   <li>{@link dev.perigee.engine.cuda.Muon}, {@link dev.perigee.engine.cuda.FusedAdamW}: steps of
 *       the optimizer.
 *   <li>{@link dev.perigee.engine.cuda.FusedNorm}, {@link dev.perigee.engine.cuda.FusedRope},
 *       {@link dev.perigee.engine.cuda.Fp8}: passes over memory.
 * </ul>
 */
package dev.perigee.engine.cuda;
