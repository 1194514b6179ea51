package dev.perigee.api;

/** The conditions of a job. All are always present, each True or False. */
public enum ConditionType {
  /** The job does what it should: it trains, or it is complete. */
  Ready,
  /** The operator is bringing pods about, or away. */
  Reconciling,
  /** Nothing will happen until somebody changes something. */
  Stalled,
  /** All steps are done and saved. */
  Complete,
  /** The job failed for good. */
  Failed,
  /** The job holds no pods because it was asked to. */
  Suspended
}
