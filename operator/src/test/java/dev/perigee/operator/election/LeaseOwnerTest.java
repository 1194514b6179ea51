package dev.perigee.operator.election;

import static org.assertj.core.api.Assertions.assertThat;

import io.fabric8.kubernetes.api.model.OwnerReference;
import io.fabric8.kubernetes.api.model.authentication.UserInfoBuilder;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class LeaseOwnerTest {
  private static Optional<OwnerReference> owner(String user, String uid) {
    return LeaseOwner.of(new UserInfoBuilder().withUsername(user).withUid(uid).build(), "ops");
  }

  @Test
  void anAccountOfTheLeasesNamespaceOwnsIt() {
    assertThat(owner("system:serviceaccount:ops:perigee", "u-1"))
        .hasValueSatisfying(
            owner -> {
              assertThat(owner.getApiVersion()).isEqualTo("v1");
              assertThat(owner.getKind()).isEqualTo("ServiceAccount");
              assertThat(owner.getName()).isEqualTo("perigee");
              assertThat(owner.getUid()).isEqualTo("u-1");
              // Needs no right on accounts.
              assertThat(owner.getBlockOwnerDeletion()).isNull();
            });
  }

  /** An owner in another namespace is as good as gone: the Lease would be deleted at once. */
  @Test
  void nobodyElseDoes() {
    assertThat(owner("system:serviceaccount:ops2:perigee", "u-1")).isEmpty();
    assertThat(owner("system:serviceaccount:other:perigee", "u-1")).isEmpty();
    assertThat(owner("kubernetes-admin", "u-1")).isEmpty();
    assertThat(owner("system:serviceaccount:ops:perigee", "")).isEmpty();
    assertThat(owner("system:serviceaccount:ops:perigee", null)).isEmpty();
    assertThat(owner(null, null)).isEmpty();
  }
}
