package org.apache.spark.ml.accel

/** The space in which the optimiser works: features divided by their standard deviation (a constant one counts as 0)
  * and, where `centred`, less their mean. Coefficients are column-major [sets x features], intercepts behind them.
  *
  * @param sets
  *   coefficient sets: 1 for a binomial regression, else the number of classes
  */
final private[accel] case class LogisticSpace(
    sets: Int,
    features: Int,
    multinomial: Boolean,
    intercept: Boolean,
    centred: Boolean,
    mean: Array[Double],
    inverseStd: Array[Double],
    reach: Array[Double],
    weightSum: Double
) {
  def dimension: Int = sets * (features + (if (intercept) 1 else 0))

  /** Where feature j is measured from. */
  def origin(j: Int): Double = if (centred) mean(j) else 0.0

  /** Not less than the absolute value of any row's feature j in this space. */
  private def largest(j: Int): Double = inverseStd(j) * (reach(j) + (if (centred) 0.0 else math.abs(mean(j))))

  /** Scales for the gradient's sums. No row's multiplier is larger than its weight. */
  lazy val gradientScales: Array[Double] = Array.tabulate(dimension) { i =>
    FixedPoint.scale(if (i < sets * features) weightSum * largest(i / sets) else weightSum)
  }

  /** The scale for the sum of losses at these coefficients. */
  def lossScale(coefficients: Array[Double]): Double = {
    val margin = Array
      .tabulate(coefficients.length)(i =>
        math.abs(coefficients(i)) * (if (i < sets * features) largest(i / sets) else 1.0)
      )
      .sum
    FixedPoint.scale(weightSum * (2 * margin + math.log(sets + 1)))
  }
}
