/** The model: layers with explicit forward and backward passes. */
package dev.perigee.engine.model;
