package dev.perigee.engine.data;

/**
 * A question with its one right answer.
 *
 * @param prompt the question, up to where the answer begins
 * @param answer what should follow, in full
 */
public record Problem(String prompt, String answer) {}
