package org.apache.spark.ml.accel

/** One partition's part of loss and gradient. The kernel knows nothing of the optimiser's space: it gets coefficients
  * for the rows as they are packed, and its gradient is brought back.
  */
final private[accel] class LogisticRequest(space: LogisticSpace, packed: PackedPartition) {
  import space.{features, inverseStd, sets}

  final class Sums(val loss: Double, val gradient: Array[Double])

  def send(coefficients: Array[Double]): Sums = {
    val offset = Array.tabulate(features)(j => packed.shift(j) - space.origin(j))
    val own = new Array[Double](sets * features) // row-major
    val intercepts = new Array[Double](sets)
    for (set <- 0 until sets) {
      var sum = if (space.intercept) coefficients(sets * features + set) else 0.0
      var j = 0
      while (j < features) {
        val coefficient = coefficients(set + j * sets) * inverseStd(j)
        own(set * features + j) = coefficient
        sum += coefficient * offset(j)
        j += 1
      }
      intercepts(set) = sum
    }
    val kernel = if (space.multinomial) "logistic_multinomial" else "logistic_binomial"
    val answer = packed.call(kernel)(_.doubles("coefficients", own).doubles("intercepts", intercepts))
    val (rows, multipliers) = (answer("gradient"), answer("multiplier_sums"))
    val gradient = new Array[Double](space.dimension)
    for (set <- 0 until sets) {
      var j = 0
      while (j < features) {
        gradient(set + j * sets) = inverseStd(j) * (rows.get(set * features + j) + offset(j) * multipliers.get(set))
        j += 1
      }
      if (space.intercept) gradient(sets * features + set) = multipliers.get(set)
    }
    new Sums(answer("loss").get(0), gradient)
  }
}
