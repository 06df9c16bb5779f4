package org.apache.spark.ml.accel

import org.apache.spark.broadcast.Broadcast
import org.apache.spark.ml.linalg.{Vector, Vectors}
import org.apache.spark.ml.optim.aggregator.DifferentiableLossAggregator

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

/** Loss and gradient of a logistic regression over packed partitions, one request a partition. The optimiser sees what
  * stock Spark's aggregators would give it, but for the rounding.
  */
final private[accel] class LogisticAggregator(space: Broadcast[LogisticSpace], lossScale: Double)(
    coefficients: Broadcast[Vector]
) extends DifferentiableLossAggregator[LivePartition, LogisticAggregator] {
  override protected val dim: Int = space.value.dimension
  private var sums: Option[FixedPointSums] = None // of the gradient, and of the loss behind it

  override def add(part: LivePartition): this.type = {
    part.run { packed =>
      val request = new LogisticRequest(space.value, packed)
      val found = request.send(coefficients.value.toArray)
      val added = new FixedPointSums(dim + 1)
      val scales = space.value.gradientScales
      var i = 0
      while (i < dim) {
        added.add(i, found.gradient(i), scales(i))
        i += 1
      }
      added.add(dim, found.loss, lossScale)
      take(added)
    }
    this
  }

  override def merge(that: LogisticAggregator): LogisticAggregator = {
    that.sums.foreach(take)
    this
  }

  override def gradient: Vector = {
    val scales = space.value.gradientScales
    Vectors.dense(Array.tabulate(dim)(i => total(i, scales(i)) / space.value.weightSum))
  }

  override def weight: Double = space.value.weightSum

  override def loss: Double = total(dim, lossScale) / space.value.weightSum

  private def total(i: Int, scale: Double): Double = sums.fold(0.0)(_(i, scale))

  private def take(added: FixedPointSums): Unit = sums = Some(sums.fold(added)(_.merge(added)))
}

private[accel] object LogisticAggregator {
  def apply(space: Broadcast[LogisticSpace])(coefficients: Broadcast[Vector]): LogisticAggregator =
    new LogisticAggregator(space, space.value.lossScale(coefficients.value.toArray))(coefficients)
}

/** One partition's part of loss and gradient. The kernel knows nothing of the optimiser's space: it gets coefficients
  * for the rows as they are packed, and its gradient is brought back.
  */
final private class LogisticRequest(space: LogisticSpace, packed: PackedPartition) {
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
