package dev.perigee.operator.bench;

import dev.perigee.operator.OperatorMain;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The operator in a JVM of its own, with a heap of 512 MiB and no more. */
final class OperatorProcess implements AutoCloseable {
  static final int HEAP_MIB = 512;
  private static final Pattern USED = Pattern.compile("total reserved.*?used (\\d+)K|used (\\d+)K");

  private final Process process;
  private final int port;
  private final Path log;

  OperatorProcess(Path kubeconfig, Path log) throws IOException {
    this.log = log;
    try (ServerSocket free = new ServerSocket(0)) {
      port = free.getLocalPort();
    }
    ProcessBuilder builder =
        new ProcessBuilder(
            java(),
            "-Xmx" + HEAP_MIB + "m",
            "-XX:+ExitOnOutOfMemoryError",
            "-cp",
            System.getProperty("java.class.path"),
            OperatorMain.class.getName());
    builder.environment().put("KUBECONFIG", kubeconfig.toString());
    builder.environment().put("PERIGEE_HTTP_PORT", Integer.toString(port));
    builder.redirectErrorStream(true).redirectOutput(log.toFile());
    process = builder.start();
  }

  /** Waits until it is ready. */
  void awaitReady() throws IOException, InterruptedException {
    try (HttpClient http = HttpClient.newHttpClient()) {
      HttpRequest ready =
          HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/readyz")).build();
      while (true) {
        if (!process.isAlive()) {
          throw new IllegalStateException("the operator ended:\n" + Files.readString(log));
        }
        try {
          if (http.send(ready, HttpResponse.BodyHandlers.discarding()).statusCode() == 200) {
            return;
          }
        } catch (IOException e) {
          // not up yet
        }
        Thread.sleep(50);
      }
    }
  }

  /** Heap in use after a full collection, in MiB. */
  long liveHeapMib() throws IOException, InterruptedException {
    jcmd("GC.run");
    Matcher used = USED.matcher(jcmd("GC.heap_info"));
    if (!used.find()) {
      throw new IllegalStateException("jcmd GC.heap_info says nothing of what is used");
    }
    String kib = used.group(1) == null ? used.group(2) : used.group(1);
    return Long.parseLong(kib) / 1024;
  }

  private String jcmd(String command) throws IOException, InterruptedException {
    Process jcmd =
        new ProcessBuilder(
                List.of(
                    Path.of(java()).resolveSibling("jcmd").toString(),
                    Long.toString(process.pid()),
                    command))
            .redirectErrorStream(true)
            .start();
    String said = new String(jcmd.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    jcmd.waitFor();
    return said;
  }

  private static String java() {
    return Path.of(System.getProperty("java.home"), "bin", "java").toString();
  }

  /** As if its node had died. */
  @Override
  public void close() {
    process.destroyForcibly().onExit().join();
  }
}
