package dev.perigee.cli.cluster.node;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.UnknownHostException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * An address for each pod, {@code 127.n.y.z}, and one hosts file that names them all.
 *
 * <p>A pod's address follows from its namespace and name, so a pod that comes again has the same
 * one. Each cluster on a machine takes a second octet of its own and holds it by a listening
 * socket, so that two clusters never share an address.
 */
final class PodNetwork implements AutoCloseable {
  /** Nobody connects there; that it can be bound says that the octet is free. */
  private static final int GUARD_PORT = 29_499;

  private final Path hostsFile;
  private final ServerSocket guard;
  private final int octet;
  private final Map<String, String> addresses = new HashMap<>();
  private final Map<String, List<String>> names = new TreeMap<>();

  PodNetwork(Path hostsFile) throws IOException {
    this.hostsFile = hostsFile;
    ServerSocket free = null;
    int found = 0;
    for (int candidate = 64; candidate < 255 && free == null; candidate++) {
      free = bindGuard(candidate);
      found = candidate;
    }
    if (free == null) {
      throw new IOException(
          "no loopback network 127.64.0.0/16 to 127.254.0.0/16 is free for the pods; on systems"
              + " that serve 127.0.0.1 only, the embedded cluster cannot run pods");
    }
    this.guard = free;
    this.octet = found;
    write();
  }

  private static ServerSocket bindGuard(int octet) throws IOException {
    ServerSocket socket = new ServerSocket();
    try {
      socket.bind(new InetSocketAddress(inet(octet, 65_534), GUARD_PORT));
      return socket;
    } catch (IOException e) {
      socket.close(); // taken by another cluster
      return null;
    }
  }

  private static InetAddress inet(int octet, int host) throws UnknownHostException {
    return InetAddress.getByAddress(
        new byte[] {127, (byte) octet, (byte) (host >> 8), (byte) host});
  }

  /** The hosts file, in the form of {@code /etc/hosts}. */
  Path hostsFile() {
    return hostsFile;
  }

  /**
   * The address of a pod; from now on the hosts file has its names.
   *
   * @param subdomain the pod's headless service, empty for none
   */
  synchronized String join(String namespace, String pod, String hostname, String subdomain)
      throws IOException {
    String key = namespace + "/" + pod;
    String address = addresses.get(key);
    if (address == null) {
      // 1 to 65000: neither the network's first address nor the guard's.
      int host = Math.floorMod(key.hashCode() * 0x9E3779B9, 65_000) + 1;
      address = dotted(host);
      while (addresses.containsValue(address)) {
        host = host % 65_000 + 1;
        address = dotted(host);
      }
      addresses.put(key, address);
    }
    String inService = hostname + "." + subdomain;
    List<String> aliases =
        subdomain.isEmpty()
            ? List.of(pod)
            : List.of(
                inService + "." + namespace + ".svc.cluster.local",
                inService + "." + namespace + ".svc",
                inService + "." + namespace,
                inService,
                pod);
    if (!aliases.equals(names.put(address, aliases))) {
      write();
    }
    return address;
  }

  private String dotted(int host) {
    return "127." + octet + "." + (host >> 8) + "." + (host & 255);
  }

  /** Replaces the file at once: a JVM reads it anew at each look-up. */
  private void write() throws IOException {
    StringBuilder text = new StringBuilder("127.0.0.1 localhost\n");
    names.forEach(
        (address, aliases) ->
            text.append(address).append(' ').append(String.join(" ", aliases)).append('\n'));
    Path next = hostsFile.resolveSibling(hostsFile.getFileName() + ".next");
    Files.writeString(next, text);
    Files.move(
        next, hostsFile, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }

  @Override
  public void close() throws IOException {
    guard.close();
  }
}
