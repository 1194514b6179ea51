/**
 * From files and generators to sequences of token ids. Read in this order: {@link
 * dev.perigee.engine.data.TrainingData} (what a trainer asks for), {@link
 * dev.perigee.engine.data.Mixture} (which source gives which sequence), the sources {@link
 * dev.perigee.engine.data.TextSource} and {@link dev.perigee.engine.data.ArithmeticSource}, and
 * {@link dev.perigee.engine.data.Tokenizer}.
 *
 * <p>Everything is stateless: sequence i of a job is a pure function of the configuration and the
 * data, so any rank of any mesh can compute any sequence, and a resumed run reads on where it
 * stopped by counting.
 */
package dev.perigee.engine.data;
