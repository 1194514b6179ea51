/**
 * The kernels in {@code src/main/cuda} that were made for speed, as launches: pure functions of
 * sizes and addresses. Most want bf16 and widths divisible by 8.
 *
 * <ul>
 *   <li>{@link dev.perigee.engine.cuda.kernels.MoeLayer}: an expert layer, forward and backward,
 *       made of {@link dev.perigee.engine.cuda.kernels.Router}, {@link
 *       dev.perigee.engine.cuda.kernels.Dispatch}, {@link
 *       dev.perigee.engine.cuda.kernels.GroupedGemm} and {@link
 *       dev.perigee.engine.cuda.kernels.SwiGlu}.
 *   <li>{@link dev.perigee.engine.cuda.kernels.MlaPrefill}: latent attention for training; {@link
 *       dev.perigee.engine.cuda.kernels.MlaDecode}: absorbed, over a paged cache.
 *   <li>{@link dev.perigee.engine.cuda.kernels.LinearCrossEntropy}: the head and the loss without
 *       the logits of all tokens.
 *   <li>{@link dev.perigee.engine.cuda.kernels.Muon} with {@link
 *       dev.perigee.engine.cuda.kernels.NewtonSchulz}, {@link
 *       dev.perigee.engine.cuda.kernels.FusedAdamW}: steps of the optimizer.
 *   <li>{@link dev.perigee.engine.cuda.kernels.FusedNorm}, {@link
 *       dev.perigee.engine.cuda.kernels.FusedRope}, {@link dev.perigee.engine.cuda.kernels.Fp8}:
 *       passes over memory.
 * </ul>
 */
package dev.perigee.engine.cuda.kernels;
