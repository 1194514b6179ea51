package dev.perigee.engine.backend;

import java.util.List;

/**
 * Constants of Muon (Kimi K2 report, algorithm 1).
 *
 * @param momentum μ
 * @param nesterov whether the update looks one step ahead
 * @param steps of Newton and Schulz's iteration
 * @param coefficients (a, b, c) of {@code aX + b(XXᵀ)X + c(XXᵀ)²X}
 * @param updateRms root mean square of an update's numbers, before the learning rate
 * @param weightDecay λ
 */
public record MuonRule(
    float momentum,
    boolean nesterov,
    int steps,
    List<Double> coefficients,
    double updateRms,
    double weightDecay) {}
