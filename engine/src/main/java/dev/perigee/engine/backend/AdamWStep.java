package dev.perigee.engine.backend;

/**
 * Constants of one AdamW update.
 *
 * @param size elements
 * @param gradientScale factor on the gradient as it is given
 * @param beta1 decay of the mean
 * @param beta2 decay of the mean square
 * @param rate learning rate over the bias correction of the mean
 * @param squareCorrection factor on the root of the mean square that corrects its bias
 * @param epsilon added to the corrected root
 * @param keep factor on the weight: decoupled decay
 */
public record AdamWStep(
    int size,
    float gradientScale,
    float beta1,
    float beta2,
    float rate,
    float squareCorrection,
    float epsilon,
    float keep) {}
