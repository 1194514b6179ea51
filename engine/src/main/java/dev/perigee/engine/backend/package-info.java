/**
 * What a model computes with: {@link dev.perigee.engine.backend.Backend} says which operations
 * there are, {@link dev.perigee.engine.backend.CpuBackend} is the readable one and the oracle.
 */
package dev.perigee.engine.backend;
