/** One optimizer step of one rank, from sequences to new weights. */
package dev.perigee.engine.train;
