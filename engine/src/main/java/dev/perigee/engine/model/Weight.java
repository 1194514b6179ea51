package dev.perigee.engine.model;

import dev.perigee.engine.tensor.Tensor;

/** Weights as a layer computes with them, with their gradient of the same shape. */
record Weight(Tensor value, Tensor gradient) {}
