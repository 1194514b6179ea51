/** Generation from a model with a cache of latents. */
package dev.perigee.engine.generate;
