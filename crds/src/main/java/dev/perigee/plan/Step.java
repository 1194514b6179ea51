package dev.perigee.plan;

/**
 * One step of a rank's schedule.
 *
 * <p>A chunk is a run of consecutive layers; chunks are numbered in the order of the model, and
 * chunk {@code c} stands on stage {@code c % stages}. Where experts overlap, a chunk with n layers
 * of experts computes in 2n + 1 parts, cut at each dispatch and each combine:
 *
 * <pre>
 * FORWARD 0   DISPATCH 0            FORWARD 1   COMBINE 0            FORWARD 2 …
 * … BACKWARD 2   COMBINE_BACKWARD 0   BACKWARD 1   DISPATCH_BACKWARD 0   BACKWARD 0
 * </pre>
 *
 * <p>Otherwise a chunk computes in one part, in which dispatch and combine happen.
 *
 * @param action what is done
 * @param microBatch of the optimizer step, from 0
 * @param chunk over all stages, from 0
 * @param part of what computes: which part; of an exchange of experts: which of the chunk's layers
 *     of experts; else 0
 */
public record Step(Action action, int microBatch, int chunk, int part) {

  /** What a step does. */
  public enum Action {
    /** Computes a part of a chunk. */
    FORWARD("forward"),
    /** Computes the gradients of a part's input and of its weights, layer by layer. */
    BACKWARD("backward"),
    /** Computes the gradient of a part's input only; its weights' follows later. */
    BACKWARD_INPUT("input gradient"),
    /** Computes the gradients of a part's weights, after that of its input. */
    BACKWARD_WEIGHT("weight gradient"),
    /** Hands the chunk's output to the stage of the next chunk; does not wait for it. */
    SEND_ACTIVATION("send activation"),
    /** Waits for the chunk's input. */
    RECEIVE_ACTIVATION("receive activation"),
    /** Hands the gradient of the chunk's input to the stage of the chunk before. */
    SEND_GRADIENT("send gradient"),
    /** Waits for the gradient of the chunk's output. */
    RECEIVE_GRADIENT("receive gradient"),
    /** Starts to bring tokens to their experts; the next part waits for it. */
    DISPATCH("dispatch"),
    /** Starts to bring the experts' results back; the next part waits for it. */
    COMBINE("combine"),
    /** Starts to bring the results' gradients to the experts: combine backwards. */
    COMBINE_BACKWARD("combine backward"),
    /** Starts to bring the gradients of tokens back from the experts: dispatch backwards. */
    DISPATCH_BACKWARD("dispatch backward"),
    /** Starts to copy what the chunk's backward needs to host memory, and frees it then. */
    OFFLOAD("offload"),
    /** Starts to bring it back; the chunk's backward waits for it. */
    LOAD("load");

    private final String label;

    Action(String label) {
      this.label = label;
    }

    /** Lower case, for people. */
    public String label() {
      return label;
    }

    /** Whether the rank itself computes, rather than moves something. */
    public boolean computes() {
      return switch (this) {
        case FORWARD, BACKWARD, BACKWARD_INPUT, BACKWARD_WEIGHT -> true;
        default -> false;
      };
    }

    /** Whether it is an exchange among the ranks that share the experts. */
    public boolean exchangesExperts() {
      return switch (this) {
        case DISPATCH, COMBINE, COMBINE_BACKWARD, DISPATCH_BACKWARD -> true;
        default -> false;
      };
    }
  }

  /** The event's name in a timeline, for example {@code forward 3 chunk 1 part 0}. */
  public String name() {
    return action.label() + " " + microBatch + " chunk " + chunk + " part " + part;
  }

  @Override
  public String toString() {
    return name();
  }
}
