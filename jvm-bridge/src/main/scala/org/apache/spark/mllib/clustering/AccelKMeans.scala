package org.apache.spark.mllib.clustering

import org.apache.spark.ml.linalg.Vector
import org.apache.spark.mllib.linalg.{Vectors => OldVectors}

/** What is private to this package of Spark and org.apache.spark.ml.accel needs. */
private[spark] object AccelKMeans {

  /** k-means++ on a few weighted points in the driver, the last step of k-means||. */
  def plusPlus(points: Array[Vector], weights: Array[Double], k: Int, maxIterations: Int): Array[Vector] =
    LocalKMeans
      .kMeansPlusPlus(0, points.map(point => new VectorWithNorm(OldVectors.fromML(point))), weights, k, maxIterations)
      .map(_.vector.asML)

  def model(centres: Array[Vector], distanceMeasure: String, cost: Double, iterations: Int): KMeansModel =
    new KMeansModel(centres.map(OldVectors.fromML), distanceMeasure, cost, iterations)

  /** Whether stock's rows solver takes the move from one centre to the next as the last. */
  def converged(distanceMeasure: String, before: Vector, after: Vector, tolerance: Double): Boolean =
    DistanceMeasure
      .decodeFromString(distanceMeasure)
      .isCenterConverged(
        new VectorWithNorm(OldVectors.fromML(before)),
        new VectorWithNorm(OldVectors.fromML(after)),
        tolerance
      )
}
