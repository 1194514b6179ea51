/** Checkpoints in Hugging Face layout: weights, configuration and the trainer's own state. */
package dev.perigee.engine.checkpoint;
