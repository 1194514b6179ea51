/** The program of PretrainJob. */
package dev.perigee.trainer;
