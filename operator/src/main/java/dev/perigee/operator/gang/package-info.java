/**
 * The pods of one job, as one thing: {@link dev.perigee.operator.gang.GangPlan} says what should
 * be, {@link dev.perigee.operator.gang.ObservedGang} what is, {@link
 * dev.perigee.operator.gang.Gang} tells the difference as actions, {@link
 * dev.perigee.operator.gang.Breakage} finds why a gang broke, and {@link
 * dev.perigee.operator.gang.FailureRules} what to do then. All are pure; only {@link
 * dev.perigee.operator.gang.GangWriter} writes to the cluster.
 */
package dev.perigee.operator.gang;
