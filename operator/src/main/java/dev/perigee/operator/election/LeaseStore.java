package dev.perigee.operator.election;

import io.fabric8.kubernetes.api.model.coordination.v1.Lease;
import java.util.Optional;

/** Where the Lease is. Whoever writes a version that is no longer the newest gets an exception. */
interface LeaseStore {
  /** The Lease, empty when there is none. */
  Optional<Lease> read();

  /** Creates it, when it has no version yet, or replaces the version that it has. */
  void write(Lease lease);
}
