package dev.perigee.engine.bench;

import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.perigee.engine.parallel.Fabric;
import dev.perigee.engine.parallel.LostPeerException;
import dev.perigee.engine.tensor.Tensor;
import dev.perigee.run.ExitCode;
import dev.perigee.run.Mesh;
import dev.perigee.run.RankMap;
import dev.perigee.run.RunConfig;
import java.io.IOException;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/**
 * One process of a benchmark's gang: {@code GangWorker ORDER}, where the file ORDER says what to do
 * and where the answer belongs. Ends with {@link ExitCode#LOST_PEER} when a peer is lost, as a
 * trainer does.
 */
final class GangWorker {
  private static final JsonMapper JSON = new JsonMapper();

  /** What a worker prints once every rank has exchanged rows. */
  static final String GOING = "going";

  private static final int ROUNDS_BEFORE_GOING = 3;
  private static final int EXCHANGED = 1 << 20;

  private GangWorker() {}

  /**
   * What a worker is told.
   *
   * @param pods in which the ranks are dealt out in equal parts
   * @param pod of this worker
   * @param port where pods listen, each on its own address of the loopback
   * @param answer file for the answer
   */
  record Order(GangWork work, int pods, int pod, int port, String answer) {}

  /** The answer: what each rank of the pod has done. */
  record Answer(List<GangWork.Done> ranks) {}

  /** Runs one order; the process ends with it. */
  public static void main(String[] arguments) {
    ExitCode end = ExitCode.INTERNAL;
    try {
      Order order = JSON.readValue(Path.of(arguments[0]).toFile(), Order.class);
      Answer answer = new Answer(run(order));
      Files.write(Path.of(order.answer()), JSON.writeValueAsBytes(answer));
      end = ExitCode.DONE;
    } catch (LostPeerException e) {
      System.err.println("worker: " + e.getMessage());
      end = ExitCode.LOST_PEER;
    } catch (Throwable e) {
      e.printStackTrace();
    }
    System.out.flush();
    System.err.flush();
    Runtime.getRuntime().halt(end.code()); // whatever still hangs in a library
  }

  /** Writes an order where a worker finds it. */
  static void write(Order order, Path file) throws IOException {
    Files.write(file, JSON.writeValueAsBytes(order));
  }

  /** Reads a worker's answer. */
  static Answer read(Path file) throws IOException {
    return JSON.readValue(file.toFile(), Answer.class);
  }

  static InetAddress address(int pod) throws IOException {
    return InetAddress.getByName("127.0.79." + (pod + 1));
  }

  private static Fabric connect(Order order, Mesh mesh) throws IOException {
    if (order.pods() == 1) {
      return Fabric.local(mesh.world());
    }
    List<RankMap.Pod> pods = new ArrayList<>();
    int each = mesh.world() / order.pods();
    for (int pod = 0; pod < order.pods(); pod++) {
      pods.add(
          new RankMap.Pod(
              pod,
              address(pod).getHostAddress(),
              null,
              IntStream.range(pod * each, (pod + 1) * each).boxed().toList()));
    }
    return Fabric.connect(
        "bench/gpus",
        "digest",
        new RankMap(1, pods),
        order.pod(),
        new RunConfig.Network(1, order.port(), 60, 6),
        address(order.pod()));
  }

  /** What each rank of this worker's pod has done. */
  static List<GangWork.Done> run(Order order) throws Exception {
    GangWork work = order.work();
    try (Fabric fabric = connect(order, work.mesh())) {
      return fabric.run(
          rank -> {
            try (GangRank self = GangRank.open(work.shape(), fabric, work.mesh(), rank)) {
              return switch (work.kind()) {
                case COLLECTIVES ->
                    new GangWork.Done(
                        self.way(),
                        new CollectiveSweep(
                                self.backend(), self.groups().expert(), work.shape().repeats())
                            .run(work.shape().sizes()),
                        List.of(),
                        List.of(),
                        null,
                        0);
                case TRAINING -> new SliceTraining(work, self).run();
                case EXCHANGE_FOR_EVER -> exchangeForEver(self);
              };
            }
          });
    }
  }

  private static GangWork.Done exchangeForEver(GangRank self) {
    int ranks = self.groups().expert().size();
    int[] rows = IntStream.range(0, ranks).map(i -> EXCHANGED / ranks).toArray();
    int width = 8;
    Tensor out = self.backend().zeros(IntStream.of(rows).sum(), width);
    Tensor in = self.backend().zeros(IntStream.of(rows).sum(), width);
    for (long round = 1; ; round++) {
      self.groups().expert().allToAll(out, rows, in, rows);
      if (round == ROUNDS_BEFORE_GOING) {
        System.out.println(GOING);
        System.out.flush();
      }
    }
  }
}
