package dev.perigee.trainer;

/** What the ranks of one pod share with each other and with its HTTP threads. */
record Pod(
    Progress progress, Metrics metrics, Requests requests, Log log, Accelerator accelerator) {}
