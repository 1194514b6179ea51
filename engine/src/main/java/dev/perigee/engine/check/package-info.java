/** Comparison of the engine with another implementation's numbers, kept in a folder. */
package dev.perigee.engine.check;
