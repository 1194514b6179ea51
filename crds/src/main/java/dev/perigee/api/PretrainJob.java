package dev.perigee.api;

import io.fabric8.crd.generator.annotation.AdditionalPrinterColumn;
import io.fabric8.kubernetes.api.model.Namespaced;
import io.fabric8.kubernetes.client.CustomResource;
import io.fabric8.kubernetes.model.annotation.Group;
import io.fabric8.kubernetes.model.annotation.Kind;
import io.fabric8.kubernetes.model.annotation.Plural;
import io.fabric8.kubernetes.model.annotation.ShortNames;
import io.fabric8.kubernetes.model.annotation.Version;

/** Pretrains one sparse mixture-of-experts language model to a checkpoint. */
@AdditionalPrinterColumn(
    name = "Status",
    jsonPath = ".status.conditions[?(@.type==\"Ready\")].reason",
    getDescription = "Why the job is ready, or not")
@AdditionalPrinterColumn(
    name = "Step",
    type = AdditionalPrinterColumn.Type.INTEGER,
    jsonPath = ".status.progress.step",
    getDescription = "Optimizer steps done")
@AdditionalPrinterColumn(
    name = "Of",
    type = AdditionalPrinterColumn.Type.INTEGER,
    jsonPath = ".status.progress.totalSteps",
    getDescription = "Steps of the whole job")
@AdditionalPrinterColumn(
    name = "Loss",
    type = AdditionalPrinterColumn.Type.NUMBER,
    jsonPath = ".status.progress.loss",
    getDescription = "Mean next-token cross-entropy of the last step, in nats")
@AdditionalPrinterColumn(
    name = "Tokens/s",
    type = AdditionalPrinterColumn.Type.NUMBER,
    jsonPath = ".status.progress.tokensPerSecond",
    getDescription = "Over all ranks")
@AdditionalPrinterColumn(
    name = "MaxQK",
    type = AdditionalPrinterColumn.Type.NUMBER,
    jsonPath = ".status.progress.maxQkLogit",
    priority = 1,
    getDescription = "Largest attention logit over all layers and heads")
@AdditionalPrinterColumn(
    name = "Clipped",
    type = AdditionalPrinterColumn.Type.INTEGER,
    jsonPath = ".status.progress.clippedHeads",
    priority = 1,
    getDescription = "Heads that QK-Clip scaled in the last step")
@AdditionalPrinterColumn(
    name = "Restarts",
    type = AdditionalPrinterColumn.Type.INTEGER,
    jsonPath = ".status.restarts",
    priority = 1,
    getDescription = "Restarts that counted")
@AdditionalPrinterColumn(
    name = "Checkpoint",
    type = AdditionalPrinterColumn.Type.STRING,
    jsonPath = ".status.lastDurableCheckpoint.path",
    priority = 1,
    getDescription = "The newest complete checkpoint on its volume")
@AdditionalPrinterColumn(
    name = "Memory",
    type = AdditionalPrinterColumn.Type.STRING,
    jsonPath = ".status.layout.estimate.memoryPerRank",
    priority = 1,
    getDescription = "What the fullest rank is expected to need")
@AdditionalPrinterColumn(
    name = "Age",
    type = AdditionalPrinterColumn.Type.DATE,
    jsonPath = ".metadata.creationTimestamp")
@Group(PretrainJob.GROUP)
@Version(PretrainJob.VERSION)
@Kind(PretrainJob.KIND)
@Plural("pretrainjobs")
@ShortNames("ptj")
public final class PretrainJob extends CustomResource<PretrainJobSpec, PretrainJobStatus>
    implements Namespaced {
  /** API group of all of Perigee's resources. */
  public static final String GROUP = "perigee.dev";

  /** API version. */
  public static final String VERSION = "v1alpha1";

  /** Kind in a manifest. */
  public static final String KIND = "PretrainJob";

  private static final long serialVersionUID = 1L;

  @Override
  protected PretrainJobSpec initSpec() {
    return null;
  }

  @Override
  protected PretrainJobStatus initStatus() {
    return null;
  }
}
