package org.apache.spark.ml.accel

import org.sparkaccel.KernelCall

/** One partition's part of loss and gradient. The kernel knows nothing of the optimiser's space: it gets coefficients
  * for the rows as they are packed, and its gradient is brought back.
  */
final private[accel] class LogisticRequest(space: LogisticSpace, packed: PackedPartition) {
  import space.{features, inverseStd, sets}

  final class Sums(val loss: Double, val gradient: Array[Double])

  private def offset(j: Int): Double = packed.shift(j) - space.origin(j)

  def send(coefficients: Array[Double]): () => KernelCall.Answer = {
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
    packed.call(kernel)(_.doubles("coefficients", own).doubles("intercepts", intercepts))
  }

  def sums(answer: KernelCall.Answer): Sums = {
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
