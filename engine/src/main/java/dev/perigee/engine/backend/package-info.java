/**
 * What a model computes with: {@link dev.perigee.engine.backend.Backend} says which operations
 * there are, {@link dev.perigee.engine.backend.CpuBackend} is the readable one and the oracle.
 * {@link dev.perigee.engine.backend.Arena} hands out memory; what is done again and again is a
 * {@link dev.perigee.engine.backend.Routine}, whose inputs are slots and {@link
 * dev.perigee.engine.backend.Rates} and whose results {@link dev.perigee.engine.backend.Sum}s.
 */
package dev.perigee.engine.backend;
