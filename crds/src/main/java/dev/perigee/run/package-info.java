/**
 * The contract between the operator and the programs in the pods. Read in this order: {@link
 * dev.perigee.run.RunConfig} (what a program is asked to do), {@link dev.perigee.run.RunFiles}
 * (where its files are), {@link dev.perigee.run.Mesh} (how ranks are laid out), {@link
 * dev.perigee.run.RankMap} (who is where), {@link dev.perigee.run.RunStatus} (what it answers) and
 * {@link dev.perigee.run.ExitCode} (how it ends).
 */
package dev.perigee.run;
