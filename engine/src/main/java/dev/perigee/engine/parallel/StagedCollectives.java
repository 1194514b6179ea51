package dev.perigee.engine.parallel;

import dev.perigee.engine.tensor.Tensor;

/**
 * The operations of a group on tensors that may be in a device's memory: a copy on the host travels
 * in their place. The results are those of the operations beneath, bit for bit.
 */
public record StagedCollectives(Collectives beneath) implements Collectives {
  @Override
  public int size() {
    return beneath.size();
  }

  @Override
  public int index() {
    return beneath.index();
  }

  @Override
  public void allReduceSum(Tensor x) {
    Tensor host = x.onHost();
    beneath.allReduceSum(host);
    x.assign(host);
  }

  @Override
  public void allReduceMax(Tensor x) {
    Tensor host = x.onHost();
    beneath.allReduceMax(host);
    x.assign(host);
  }

  @Override
  public void allReduceSum(double[] x) {
    beneath.allReduceSum(x);
  }

  @Override
  public void reduceScatterSum(Tensor x, int[] counts) {
    Tensor host = x.onHost();
    beneath.reduceScatterSum(host, counts);
    x.assign(host);
  }

  @Override
  public void allGather(Tensor x, int[] counts) {
    Tensor host = x.onHost();
    beneath.allGather(host, counts);
    x.assign(host);
  }

  @Override
  public void allGather(Tensor part, Tensor whole) {
    Tensor host = whole.onHost();
    beneath.allGather(part.onHost(), host);
    whole.assign(host);
  }

  @Override
  public int[] allToAllCounts(int[] values) {
    return beneath.allToAllCounts(values);
  }

  @Override
  public void allToAll(Tensor send, int[] sendRows, Tensor receive, int[] receiveRows) {
    Tensor host = receive.isOnHost() ? receive : Tensor.zeros(receive.shape());
    beneath.allToAll(send.onHost(), sendRows, host, receiveRows);
    receive.assign(host);
  }

  @Override
  public void broadcast(Tensor x, int root) {
    Tensor host = x.onHost();
    beneath.broadcast(host, root);
    x.assign(host);
  }

  @Override
  public void send(int to, int stream, Tensor x) {
    beneath.send(to, stream, x.onHost());
  }

  @Override
  public void receive(int from, int stream, Tensor x) {
    Tensor host = x.isOnHost() ? x : Tensor.zeros(x.shape());
    beneath.receive(from, stream, host);
    x.assign(host);
  }

  @Override
  public void barrier() {
    beneath.barrier();
  }
}
