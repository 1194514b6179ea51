package dev.perigee.cli;

import java.nio.file.Path;

/** A job that a busy machine trains within seconds: two pods of two ranks. */
final class TinyJob {
  private TinyJob() {}

  /** Its manifest, with checkpoints in a folder of this machine every 20 steps. */
  static String manifest(String name, int steps, Path checkpoints) {
    return """
        apiVersion: perigee.dev/v1alpha1
        kind: PretrainJob
        metadata: {name: NAME}
        spec:
          model:
            config:
              vocabSize: 258
              hiddenSize: 32
              intermediateSize: 64
              moeIntermediateSize: 16
              numHiddenLayers: 2
              firstKDenseReplace: 1
              numAttentionHeads: 2
              qLoraRank: 0
              kvLoraRank: 16
              qkNopeHeadDim: 8
              qkRopeHeadDim: 8
              vHeadDim: 8
              nRoutedExperts: 4
              numExpertsPerTok: 2
              nSharedExperts: 1
              maxPositionEmbeddings: 256
          data: [{name: book, builtin: arithmetic}]
          sequenceLength: 64
          batchTokens: 512
          parallelism: {data: 4, expert: 4, ranksPerPod: 2}
          optimizer: {kind: MuonClip}
          schedule: {peakLearningRate: 0.002, warmupSteps: 2, decaySteps: 5}
          steps: STEPS
          checkpoints:
            volume: {hostPath: {path: FOLDER}}
            intervalSteps: 20
          evaluation: {problems: 8}
          failurePolicy: {backoffSeconds: 1}
        """
        .replace("NAME", name)
        .replace("STEPS", Integer.toString(steps))
        .replace("FOLDER", checkpoints.toString());
  }
}
