/**
 * {@code ./perigee}: the embedded cluster and the tools. {@link dev.perigee.cli.Perigee} is the
 * table of contents.
 */
package dev.perigee.cli;
