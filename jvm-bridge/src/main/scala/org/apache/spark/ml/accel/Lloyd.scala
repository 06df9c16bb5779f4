package org.apache.spark.ml.accel

import org.apache.spark.ml.linalg.{Vector, Vectors}

/** Steps of Lloyd's algorithm over packed rows: one request a partition, its sums added in fixed point.
  *
  * @param facts
  *   of the packed rows: sums are of the distances from their mean, and bounds on them come from their reach
  */
final private[accel] class Lloyd(data: PackedDataset, facts: DataFacts) {
  private val features = facts.features
  private val origin = facts.mean

  /** Assigns each row to the nearest of `centres` (the first of equally near ones) and sums up.
    *
    * @param withWeights
    *   false: each row counts 1
    */
  def step(centres: Array[Vector], withWeights: Boolean = true): LloydStep = {
    val k = centres.length
    val weight = if (withWeights) facts.weightSum else facts.rows.toDouble
    val scales = new Array[Double](k * features + k + 1)
    for (j <- 0 until features; cluster <- 0 until k)
      scales(cluster * features + j) = FixedPoint.scale(weight * facts.reach(j))
    java.util.Arrays.fill(scales, k * features, k * features + k, FixedPoint.scale(weight))
    // Centres are means or rows: both lie in the box that the reach spans about the mean.
    scales(k * features + k) = FixedPoint.scale(weight * facts.reach.map(reach => 4 * reach * reach).sum)
    val (start, mean) = (centres.flatMap(_.toArray), origin)
    val sums = data.sharing((start, mean, scales)) { shared =>
      data.partitions
        .map { part =>
          val (flat, mean, scales) = shared.value
          part.run(Lloyd.partition(_, flat, mean, scales, withWeights))
        }
        .treeAggregate(Option.empty[FixedPointSums])(
          (all, one) => Lloyd.merge(all, Some(one)),
          Lloyd.merge
        )
    }
    new LloydStep(k, origin, scales, sums.get)
  }
}

private object Lloyd {
  private def merge(left: Option[FixedPointSums], right: Option[FixedPointSums]): Option[FixedPointSums] =
    left.map(sums => right.fold(sums)(sums.merge)).orElse(right)

  private def partition(
      packed: PackedPartition,
      centres: Array[Double],
      mean: Array[Double],
      scales: Array[Double],
      withWeights: Boolean
  ): FixedPointSums = {
    val features = packed.features
    val k = centres.length / features
    val answer = packed.call("kmeans_lloyd", withWeights)(_.doubles("centres", packed.shifted(centres)))
    val (sums, weights) = (answer("sums"), answer("weight_sums"))
    val fixed = new FixedPointSums(scales.length)
    for (cluster <- 0 until k) {
      val weight = weights.get(cluster)
      var j = 0
      while (j < features) {
        val at = cluster * features + j
        fixed.add(at, sums.get(at) + (packed.shift(j) - mean(j)) * weight, scales(at))
        j += 1
      }
      fixed.add(k * features + cluster, weight, scales(k * features + cluster))
    }
    fixed.add(k * features + k, answer("cost").get(0), scales(k * features + k))
    fixed
  }
}

/** What one step found: by cluster, the weight and the mean of its rows; the sum of weight x squared distance. */
final private[accel] class LloydStep(k: Int, origin: Array[Double], scales: Array[Double], sums: FixedPointSums) {
  private val features = origin.length

  val weightSums: Array[Double] = Array.tabulate(k)(cluster => at(k * features + cluster))

  def cost: Double = at(k * features + k)

  /** The mean of a cluster that has weight. */
  def mean(cluster: Int): Vector = {
    val weight = weightSums(cluster)
    Vectors.dense(Array.tabulate(features)(j => origin(j) + at(cluster * features + j) / weight))
  }

  private def at(i: Int): Double = sums(i, scales(i))
}
