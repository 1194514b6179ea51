package dev.perigee.engine.backend;

/**
 * Sizes of DeepSeek-V3's router ({@code noaux_tc}).
 *
 * @param experts routed experts (E)
 * @param chosen experts that a token goes to (K)
 * @param groups groups of experts; 1 for none
 * @param chosenGroups groups that a token may choose experts from
 * @param normalize whether the chosen experts' scores are made to sum to one
 * @param scale factor on their weights
 */
public record RouterShape(
    int experts, int chosen, int groups, int chosenGroups, boolean normalize, float scale) {}
