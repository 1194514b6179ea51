package dev.perigee.engine.backend;

/**
 * Constants of AdamW (Loshchilov and Hutter, algorithm 2).
 *
 * @param beta1 decay of the mean
 * @param beta2 decay of the mean square
 * @param epsilon added to the corrected root
 * @param weightDecay λ
 */
public record AdamWRule(float beta1, float beta2, float epsilon, double weightDecay) {}
