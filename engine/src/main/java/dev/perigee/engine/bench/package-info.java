/** Benchmarks: what is measured, beside what, and the table that comes out. */
package dev.perigee.engine.bench;
