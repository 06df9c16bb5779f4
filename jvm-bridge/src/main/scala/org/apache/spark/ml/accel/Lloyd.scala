package org.apache.spark.ml.accel

import java.util.Arrays

import org.apache.spark.ml.linalg.{Vector, Vectors}
import org.sparkaccel.KernelCall

/** Where sums of a Lloyd step are measured from, and their steps in fixed point: of feature j's sums `features(j)`. The
  * cost may be far below its bound, so what its own steps leave of it is summed, too, in finer ones.
  */
final private[accel] case class LloydScales(
    origin: Array[Double],
    features: Array[Double],
    weight: Double,
    cost: Double,
    costRest: Double
)

/** Steps of Lloyd's algorithm over packed rows: one request a partition, its sums added in fixed point.
  *
  * @param facts
  *   of the packed rows: bounds on sums come from their reach. Sums of float32 rows are of the distances from their mean;
  *   of float64 rows they are as in stock Spark, so that their means have its digits
  */
final private[accel] class Lloyd(data: PackedDataset, facts: DataFacts) {

  private val scales: LloydScales = {
    val weight = facts.weightSum
    val origin = if (data.float64) new Array[Double](facts.features) else facts.mean
    val largest = Array.tabulate(facts.features)(j => facts.reach(j) + math.abs(facts.mean(j) - origin(j)))
    // Centres are means or rows: both lie in the box that the reach spans about the mean.
    val cost = FixedPoint.scale(weight * facts.reach.map(reach => 4 * reach * reach).sum)
    LloydScales(
      origin,
      largest.map(value => FixedPoint.scale(weight * value)),
      FixedPoint.scale(weight),
      cost,
      FixedPoint.scale(data.partitions / cost)
    )
  }

  /** Assigns each row to the nearest of `centres` (the first of equally near ones) and sums up. Centres travel with the
    * tasks.
    */
  def step(centres: Array[Vector]): LloydStep = {
    val (scales, flat) = (this.scales, centres.flatMap(_.toArray)) // not this object
    val sums = data.sum()(Lloyd.ask(_, flat))(Lloyd.sums(_, _, scales))
    new LloydStep(centres.length, scales, sums.sound(Lloyd.Kernel))
  }
}

private object Lloyd {

  private val Kernel = "kmeans_lloyd"

  private def ask(packed: PackedPartition, centres: Array[Double]): () => KernelCall.Answer = {
    packed.nearest = None // the initialisation is over, and that is 12 bytes a row
    packed.call(Kernel)(_.doubles("centres", packed.shifted(centres)))
  }

  /** Sums of clusters by feature, then their weights, then the cost and its rest. */
  private def sums(packed: PackedPartition, answer: KernelCall.Answer, scales: LloydScales): FixedPointSums = {
    val features = packed.features
    val (sums, weights) = (answer("sums"), answer("weight_sums"))
    val k = weights.remaining
    val fixed = new FixedPointSums(k * features + k + 2)
    for (cluster <- 0 until k) {
      val weight = weights.get(cluster)
      var j = 0
      while (j < features) {
        val at = cluster * features + j
        fixed.add(at, sums.get(at) + (packed.shift(j) - scales.origin(j)) * weight, scales.features(j))
        j += 1
      }
      fixed.add(k * features + cluster, weight, scales.weight)
    }
    val cost = answer("cost").get(0)
    fixed.add(k * features + k, cost, scales.cost)
    fixed.add(k * features + k + 1, cost - math.rint(cost * scales.cost) / scales.cost, scales.costRest)
    fixed
  }
}

/** What one step found: by cluster, the weight and the mean of its rows; the sum of weight x squared distance. */
final private[accel] class LloydStep(k: Int, scales: LloydScales, sums: FixedPointSums) {
  private val features = scales.origin.length

  val weightSums: Array[Double] = Array.tabulate(k)(cluster => sums(k * features + cluster, scales.weight))

  def cost: Double = sums(k * features + k, scales.cost) + sums(k * features + k + 1, scales.costRest)

  /** The mean of a cluster that has weight. */
  def mean(cluster: Int): Vector = {
    val factor = 1 / weightSums(cluster) // and no division, for stock Spark's last digit
    val mean = new Array[Double](features)
    Arrays.setAll(mean, (j: Int) => scales.origin(j) + factor * sums(cluster * features + j, scales.features(j)))
    Vectors.dense(mean)
  }
}
