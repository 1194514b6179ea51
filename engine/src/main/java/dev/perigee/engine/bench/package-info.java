/** Benchmarks that compare the engine with the roofline of the machine that they run on. */
package dev.perigee.engine.bench;
