package dev.perigee.operator.pretrain;

import dev.perigee.operator.gang.GangWriter;
import io.fabric8.kubernetes.api.model.EventBuilder;
import io.fabric8.kubernetes.api.model.HasMetadata;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.vertx.core.VertxException;
import java.net.HttpURLConnection;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** One Event for one transition. An Event that cannot be written is logged and holds nothing up. */
final class EventWriter {
  private static final Logger LOG = LoggerFactory.getLogger(EventWriter.class);
  private static final int LONGEST_MESSAGE = 1024;

  private final KubernetesClient client;

  EventWriter(KubernetesClient client) {
    this.client = client;
  }

  void write(HasMetadata about, List<Transition> transitions, Instant now) {
    String time = now.truncatedTo(ChronoUnit.SECONDS).toString();
    for (Transition transition : transitions) {
      String message = transition.message();
      // The name is that of the transition, so that the same one is not told twice.
      String name =
          about.getMetadata().getName()
              + "."
              + JobNames.sha256(
                      String.join(
                          "\n",
                          about.getMetadata().getUid(),
                          time,
                          Integer.toString(transition.attempt()),
                          transition.reason(),
                          message))
                  .substring(0, 16);
      var event =
          new EventBuilder()
              .withNewMetadata()
              .withName(name)
              .withNamespace(about.getMetadata().getNamespace())
              .endMetadata()
              .withNewInvolvedObject()
              .withApiVersion(about.getApiVersion())
              .withKind(about.getKind())
              .withName(about.getMetadata().getName())
              .withNamespace(about.getMetadata().getNamespace())
              .withUid(about.getMetadata().getUid())
              .endInvolvedObject()
              .withType(transition.warning() ? "Warning" : "Normal")
              .withReason(transition.reason())
              .withMessage(
                  message.length() > LONGEST_MESSAGE
                      ? message.substring(0, LONGEST_MESSAGE - 1) + "…"
                      : message)
              .withFirstTimestamp(time)
              .withLastTimestamp(time)
              .withCount(1)
              .withNewSource()
              .withComponent(GangWriter.FIELD_MANAGER)
              .endSource()
              .withReportingComponent(GangWriter.FIELD_MANAGER)
              .build();
      try {
        client.resource(event).create();
      } catch (KubernetesClientException e) {
        if (e.getCode() != HttpURLConnection.HTTP_CONFLICT) {
          LOG.warn("Event {} of {} was not written", transition.reason(), name, e);
        }
      } catch (VertxException e) {
        // The connection broke; a job does not wait for its Events.
        LOG.warn("Event {} of {} was not written", transition.reason(), name, e);
      }
    }
  }
}
