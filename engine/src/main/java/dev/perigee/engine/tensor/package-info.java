/** Tensors: views of memory, without operations. */
package dev.perigee.engine.tensor;
