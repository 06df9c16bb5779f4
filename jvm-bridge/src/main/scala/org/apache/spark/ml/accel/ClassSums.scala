package org.apache.spark.ml.accel

import org.sparkaccel.KernelCall

/** By class and feature, sums of weight x distance from `origin` and, for `squares`, of weight x its square: one request
  * a partition, added in fixed point.
  *
  * Classes are the labels that rows have, in their order; `origin` is the mean where the rows were packed about it, else
  * zero.
  */
final private[accel] class ClassSums(data: PackedDataset, facts: DataFacts, squares: Boolean) {
  val features: Int = facts.features
  val labels: Array[Int] = (0 until facts.labels.size).filter(facts.labels.count(_) > 0).toArray
  val weights: Array[Double] = labels.map(facts.labels.weight)
  val origin: Array[Double] = if (squares) facts.mean else new Array[Double](features)

  private val scales: Array[Double] = {
    def largest(j: Int): Double = facts.reach(j) + (if (squares) 0.0 else math.abs(facts.mean(j)))
    val first = Array.tabulate(features)(j => FixedPoint.scale(facts.weightSum * largest(j)))
    val second = Array.tabulate(features)(j => FixedPoint.scale(facts.weightSum * largest(j) * largest(j)))
    Array.fill(labels.length)(first).flatten ++ (if (squares) Array.fill(labels.length)(second).flatten
                                                 else Array.empty[Double])
  }

  private val sums: FixedPointSums = {
    val (present, all, wanted) = (labels, facts.labels.size, squares)
    val (steps, from) = (scales, origin)
    data
      .sum()(ClassSums.ask(_, all, wanted))(ClassSums.sums(_, _, present, wanted, steps, from))
      .sound(ClassSums.Kernel)
  }

  def weight(index: Int): Double = weights(index)

  def sum(index: Int, feature: Int): Double = at(index * features + feature)

  /** Only with `squares`. */
  def square(index: Int, feature: Int): Double = at((labels.length + index) * features + feature)

  private def at(i: Int): Double = sums(i, scales(i))
}

private object ClassSums {
  private val Kernel = "naive_bayes_sums"

  private def ask(packed: PackedPartition, classes: Int, squares: Boolean): () => KernelCall.Answer =
    packed.call(Kernel)(_.parameter("classes", classes.toLong).parameter("squares", squares))

  private def sums(
      packed: PackedPartition,
      answer: KernelCall.Answer,
      labels: Array[Int],
      squares: Boolean,
      scales: Array[Double],
      origin: Array[Double]
  ): FixedPointSums = {
    val features = packed.features
    val (weights, sums) = (answer("weight_sums"), answer("sums"))
    val fixed = new FixedPointSums(scales.length)
    for (index <- labels.indices) {
      val label = labels(index)
      val weight = weights.get(label)
      var j = 0
      while (j < features) {
        val offset = packed.shift(j) - origin(j)
        val sum = sums.get(label * features + j)
        val at = index * features + j
        fixed.add(at, sum + offset * weight, scales(at))
        if (squares) {
          val square = answer("square_sums").get(label * features + j)
          val behind = labels.length * features + at
          fixed.add(behind, square + 2 * offset * sum + offset * offset * weight, scales(behind))
        }
        j += 1
      }
    }
    fixed
  }
}
