package org.apache.spark.ml.accel

/** What a partition's rows sum up to by feature, relative to a point near the data so that variances keep their digits.
  *
  * @param shift
  *   what `largest` is relative to
  */
sealed abstract private[accel] class Moments(val shift: Array[Double]) extends Serializable {

  /** The largest absolute value of what rows hold, less `shift`. */
  val largest = new Array[Double](shift.length)

  /** Whether no value was NaN or infinite. */
  def finite: Boolean

  /** The mean of feature `j` in rows of this total weight, which is not 0. */
  def mean(j: Int, weightSum: Double): Double

  /** The sum of weight x squared distance from that mean. */
  def squares(j: Int, weightSum: Double): Double

  /** Whether float32, relative to the shift, keeps at least as many digits as half of float64's. */
  def shiftIsGood(weightSum: Double): Boolean
}

/** Of dense rows: sums of weight x deviation from the shift, and of weight x its square. */
final private[accel] class DenseMoments(shift: Array[Double]) extends Moments(shift) {
  private val first = new Array[Double](shift.length)
  private val second = new Array[Double](shift.length)

  /** Adds a row; `deviation` is where row - shift is left. The loops are apart so that each becomes vector code. */
  def add(row: Array[Double], weight: Double, deviation: Array[Double]): Unit = {
    val n = row.length
    var j = 0
    while (j < n) { deviation(j) = row(j) - shift(j); j += 1 }
    j = 0
    while (j < n) { first(j) += weight * deviation(j); j += 1 }
    j = 0
    while (j < n) { second(j) += weight * deviation(j) * deviation(j); j += 1 }
    j = 0
    while (j < n) { largest(j) = math.max(largest(j), math.abs(deviation(j))); j += 1 }
  }

  override def finite: Boolean = first.forall(value => !value.isNaN && !value.isInfinite)

  override def mean(j: Int, weightSum: Double): Double = shift(j) + first(j) / weightSum

  override def squares(j: Int, weightSum: Double): Double = math.max(0, second(j) - first(j) * (first(j) / weightSum))

  override def shiftIsGood(weightSum: Double): Boolean = shift.indices.forall { j =>
    val offset = first(j) / weightSum
    weightSum == 0 || offset * offset <= DenseMoments.Drift * squares(j, weightSum) / weightSum || offset == 0 ||
    math.abs(offset) <= DenseMoments.Rounding * math.abs(shift(j))
  }
}

private object DenseMoments {
  private val Drift = 64.0 * 64.0
  private val Rounding = 1e-12
}

/** Of sparse rows, which are not shifted: sums over the elements that rows hold, relative to the first one of each
  * feature. A feature that is the same in all rows so has no variance, as with stock Spark.
  */
final private[accel] class SparseMoments(features: Int) extends Moments(new Array[Double](features)) {
  import SparseMoments._

  // Together by feature, since features come in any order.
  private val sums = new Array[Double](Fields * features)
  for (j <- 0 until features) sums(Fields * j) = Double.NaN // no element yet

  /** Adds the elements that a row holds. */
  def add(indices: Array[Int], values: Array[Double], weight: Double): Unit = {
    var i = 0
    while (i < indices.length) {
      val (at, x) = (Fields * indices(i), values(i))
      if (sums(at).isNaN) sums(at) = x
      val deviation = x - sums(at)
      sums(at + Weight) += weight
      sums(at + First) += weight * deviation
      sums(at + Second) += weight * deviation * deviation
      largest(indices(i)) = math.max(largest(indices(i)), math.abs(x))
      i += 1
    }
  }

  override def finite: Boolean = largest.forall(value => !value.isNaN && !value.isInfinite)

  override def mean(j: Int, weightSum: Double): Double = held(j) * (weight(j) / weightSum)

  override def squares(j: Int, weightSum: Double): Double =
    if (weight(j) == 0) 0
    else {
      val first = sums(Fields * j + First)
      val ofHeld = math.max(0, sums(Fields * j + Second) - first * (first / weight(j)))
      // The other elements are zeros (Chan, Golub, LeVeque 1979, eq. 2.1).
      ofHeld + held(j) * held(j) * weight(j) * (math.max(0, weightSum - weight(j)) / weightSum)
    }

  override def shiftIsGood(weightSum: Double): Boolean = true

  private def weight(j: Int): Double = sums(Fields * j + Weight)

  /** The mean of the elements that rows hold. */
  private def held(j: Int): Double =
    if (weight(j) == 0) 0 else sums(Fields * j) + sums(Fields * j + First) / weight(j)
}

private object SparseMoments {
  private val Weight = 1
  private val First = 2
  private val Second = 3
  private val Fields = 4
}
