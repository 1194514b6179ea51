package dev.perigee.api;

import java.util.Optional;
import java.util.stream.Stream;

/** Why a condition is as it is: the whole list. */
public enum ConditionReason {
  /** Pods are being created and started. */
  Starting,
  /** The job that it continues from is not complete yet. */
  WaitingForSource,
  /** The job that it continues from does not exist. */
  SourceMissing,
  /** The job that it continues from failed, or is complete without a checkpoint. */
  SourceFailed,
  /** The job continues, directly or through others, from itself. */
  SourceCircle,
  /** An older job writes its checkpoints to the same folder. */
  OutputPathTaken,
  /** Pods wait for a queue or quota to let them in. */
  AwaitingAdmission,
  /** The API server refuses a pod, for example because of a quota, or another write. */
  CreationRefused,
  /** No node takes a pod. */
  InsufficientCapacity,
  /** An image cannot be pulled. */
  ImagePull,
  /** A node does not get a pod's container to start. */
  PodSetup,
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
  /** Pods were not admitted within failurePolicy.deadlines.admissionSeconds. */
  AdmissionDeadline,
  /** No node took a pod within failurePolicy.deadlines.schedulingSeconds. */
  SchedulingDeadline,
  /** A container did not start within failurePolicy.deadlines.imagePullSeconds. */
  ImagePullDeadline,
  /** Peers did not meet within failurePolicy.deadlines.rendezvousSeconds. */
  RendezvousDeadline,
  /** Data and weights were not read within failurePolicy.deadlines.loadingSeconds. */
  LoadingDeadline,
  /** The first step was not done within failurePolicy.deadlines.firstStepSeconds. */
  FirstStepDeadline,
  /** The programs no longer got on, and a rule says that this is final. */
  Hang,
  /** The job was not done within activeDeadlineSeconds. */
  DeadlineExceeded,
  /** The gang broke more often than failurePolicy.maxRestarts. */
  TooManyRestarts,
  /** A rule of failurePolicy.rules says that this failure is final. */
  FailedByRule;

  /** The reason of that name, empty for a word that this version does not use. */
  public static Optional<ConditionReason> of(String name) {
    return Stream.of(values()).filter(reason -> reason.name().equals(name)).findFirst();
  }
}
