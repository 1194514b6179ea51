/** Ranks that work together: collectives over threads and TCP, and how they meet. */
package dev.perigee.engine.parallel;
