package org.apache.spark.ml.accel

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

  private val parts = if (squares) 2 else 1
  private val sums: FixedPointSums = {
    val reach =
      if (squares) facts.reach else facts.reach.indices.map(j => facts.reach(j) + math.abs(facts.mean(j))).toArray
    val first = reach.map(largest => FixedPoint.scale(facts.weightSum * largest))
    val second = reach.map(largest => FixedPoint.scale(facts.weightSum * largest * largest))
    val scales = Array.fill(labels.length)(first).flatten ++
      (if (squares) Array.fill(labels.length)(second).flatten else Array.empty[Double])
    val (present, all, wanted) = (labels, facts.labels.size, squares)
    data
      .sharing((scales, origin)) { shared =>
        data.partitions
          .map(_.run(ClassSums.partition(_, present, all, wanted, shared.value._1, shared.value._2)))
          .treeReduce(_.merge(_))
      }
  }

  def weight(index: Int): Double = weights(index)

  def sum(index: Int, feature: Int): Double = sums(index * features + feature)

  def square(index: Int, feature: Int): Double = {
    require(parts == 2, "squares were not asked for")
    sums((labels.length + index) * features + feature)
  }
}

private object ClassSums {
  private def partition(
      packed: PackedPartition,
      labels: Array[Int],
      classes: Int,
      squares: Boolean,
      scales: Array[Double],
      origin: Array[Double]
  ): FixedPointSums = {
    val features = packed.features
    val answer = packed.call("naive_bayes_sums") {
      _.parameter("classes", classes.toLong).parameter("squares", squares)
    }
    val (weights, sums) = (answer("weight_sums"), answer("sums"))
    val fixed = new FixedPointSums(scales)
    for (index <- labels.indices) {
      val label = labels(index)
      val weight = weights.get(label)
      var j = 0
      while (j < features) {
        val offset = packed.shift(j) - origin(j)
        val sum = sums.get(label * features + j)
        fixed.add(index * features + j, sum + offset * weight)
        if (squares) {
          val square = answer("square_sums").get(label * features + j)
          fixed.add((labels.length + index) * features + j, square + 2 * offset * sum + offset * offset * weight)
        }
        j += 1
      }
    }
    fixed
  }
}
