package dev.perigee.api;

/** Why a condition is as it is: the whole list. */
public enum ConditionReason {
  /** Pods are being created and started. */
  Starting,
  /** The API server refuses a pod, for example because of a quota. */
  CreationRefused,
  /** No node takes a pod. */
  InsufficientCapacity,
  /** An image cannot be pulled. */
  ImagePull,
  /** Pods wait for their peers. */
  Rendezvous,
  /** Data and weights are being read. */
  Loading,
  /** Steps are being taken. */
  Training,
  /** Held-out data is being scored. */
  Evaluating,
  /** A checkpoint is being written, or the program is ending. */
  Saving,
  /** The gang broke; its pods go before it starts again. */
  Restarting,
  /** The gang broke; it starts again after a wait. */
  BackingOff,
  /** Pods save and go because the job is suspended. */
  Suspending,
  /** The job is suspended. */
  Suspended,
  /** All steps are done and saved. */
  Complete,
  /** What is asked for cannot work; the message says what would. */
  InvalidPlan,
  /** The program says that its configuration, data's place or checkpoint's shape is wrong. */
  BadConfig,
  /** The program says that data is damaged. */
  CorruptData,
  /** The gang broke more often than failurePolicy.maxRestarts. */
  TooManyRestarts,
  /** A rule of failurePolicy.rules says that this failure is final. */
  FailedByRule
}
