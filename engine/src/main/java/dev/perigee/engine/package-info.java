/** The model engine: tensors, kernels, model, optimizer, parallelism, data, checkpoints. */
package dev.perigee.engine;
