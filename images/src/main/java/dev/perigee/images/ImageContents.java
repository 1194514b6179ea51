package dev.perigee.images;

import java.util.List;

/**
 * What an image is made of.
 *
 * @param name of the image, and of its tar file
 * @param module folder of the Maven module that holds the program
 * @param mainClass the program
 * @param defaultBase what it stands on when nothing else is asked for
 * @param javaModules modules of the JDK that the program reaches
 * @param jvmOptions how the JVM runs it
 * @param classArchive whether it is worth a file of 70 MB to start in half the time
 * @param ports ports that it listens on
 * @param description one line
 */
record ImageContents(
    String name,
    String module,
    String mainClass,
    String defaultBase,
    List<String> javaModules,
    List<String> jvmOptions,
    boolean classArchive,
    List<Integer> ports,
    String description) {

  /** The operator: small and quick to start. */
  static final ImageContents OPERATOR =
      new ImageContents(
          "perigee-operator",
          "operator",
          "dev.perigee.operator.OperatorMain",
          // glibc and CA certificates, no shell.
          "gcr.io/distroless/base-nossl-debian12:nonroot",
          List.of(
              "java.base",
              "java.logging",
              "java.management",
              "java.naming",
              "java.net.http",
              "jdk.httpserver",
              "jdk.management",
              "jdk.unsupported"),
          List.of(
              // One reconciliation is short, and the heap is small: what counts is start and
              // memory.
              "-XX:+UseSerialGC",
              "-XX:TieredStopAtLevel=1",
              "-XX:InitialHeapSize=24m",
              "-XX:MaxRAMPercentage=60",
              "-XX:MinHeapFreeRatio=10",
              "-XX:MaxHeapFreeRatio=30",
              "-XX:+ExitOnOutOfMemoryError",
              "--sun-misc-unsafe-memory-access=allow", // the HTTP client's buffers
              "-Dsun.net.httpserver.nodelay=true",
              // One line for each record, with the time in UTC.
              "-Duser.timezone=UTC",
              "-Djava.util.logging.SimpleFormatter.format="
                  + "%1$tFT%1$tT.%1$tLZ %4$s %3$s: %5$s%6$s%n"),
          true,
          List.of(8080),
          "Operator that trains sparse mixture-of-experts language models");

  /** The program of PretrainJob. */
  static final ImageContents TRAINER =
      new ImageContents(
          "perigee-trainer",
          "trainer-image",
          "dev.perigee.trainer.Trainer",
          // The driver comes from the node; the version is that of the JCuda in the engine.
          "nvcr.io/nvidia/cuda:12.6.3-base-ubuntu24.04",
          List.of(
              "java.base",
              "java.desktop",
              "java.logging",
              "java.management",
              "java.net.http",
              "java.sql",
              "jdk.httpserver",
              "jdk.incubator.vector",
              "jdk.jfr",
              "jdk.management",
              "jdk.unsupported"),
          List.of(
              "-XX:MaxRAMPercentage=75",
              "-XX:+ExitOnOutOfMemoryError",
              "--enable-native-access=ALL-UNNAMED",
              "-Dsun.net.httpserver.nodelay=true",
              // A peer's name may come a moment later.
              "-Dsun.net.inetaddr.negative.ttl=0"),
          false,
          List.of(8080, 29500),
          "Trainer of Perigee's PretrainJobs");

  /** All images. */
  static final List<ImageContents> ALL = List.of(OPERATOR, TRAINER);
}
