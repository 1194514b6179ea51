/** {@code ./perigee}: the embedded cluster and the tools. */
package dev.perigee.cli;
