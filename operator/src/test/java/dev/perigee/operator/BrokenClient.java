package dev.perigee.operator;

import io.fabric8.kubernetes.client.KubernetesClient;
import java.lang.reflect.Proxy;

/** A client of which every call fails. */
public final class BrokenClient {
  private BrokenClient() {}

  /** One that throws this, whatever it is asked. */
  public static KubernetesClient of(RuntimeException thrown) {
    return (KubernetesClient)
        Proxy.newProxyInstance(
            BrokenClient.class.getClassLoader(),
            new Class<?>[] {KubernetesClient.class},
            (client, method, arguments) -> {
              throw thrown;
            });
  }
}
