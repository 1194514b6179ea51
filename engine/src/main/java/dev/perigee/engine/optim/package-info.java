/**
 * How gradients become new weights. Read {@link dev.perigee.engine.optim.Optimizer} first: it says
 * which rule updates which parameter and which rank does it; {@link
 * dev.perigee.engine.optim.Schedule}, {@link dev.perigee.engine.optim.QkClip} and {@link
 * dev.perigee.engine.optim.RouterBalance} are what a training step does around it.
 */
package dev.perigee.engine.optim;
