package org.apache.spark.ml.accel

/** Sums that don't depend on the order in which tasks end: each partition's float64 sum is rounded to a multiple of a
  * power of two, and added as a 64-bit integer. With a bound on the sum's absolute value known beforehand nothing
  * overflows, and the step is 2^-61^ of the bound or less: finer than the rounding of a float64 sum of the same terms.
  *
  * Scales are the inverses of the steps, powers of two from [[FixedPoint.scale]]; the same one goes with an element
  * throughout.
  */
final class FixedPointSums(length: Int) extends Serializable {
  private val sums = new Array[Long](length)
  private var undefined = false // an element was NaN

  /** Adds to one element. */
  def add(index: Int, value: Double, scale: Double): Unit = {
    undefined ||= value.isNaN
    sums(index) += math.rint(value * scale).toLong
  }

  def merge(that: FixedPointSums): this.type = {
    var i = 0
    while (i < sums.length) {
      sums(i) += that.sums(i)
      i += 1
    }
    undefined ||= that.undefined
    this
  }

  def apply(index: Int, scale: Double): Double = if (undefined) Double.NaN else sums(index) / scale
}

object FixedPoint {
  private val Bits = 61
  private val Largest = math.scalb(1.0, 1000)

  /** The largest power of two by which sums of absolute value at most `bound` fit in a long. */
  def scale(bound: Double): Double =
    if (bound > 0) math.scalb(1.0, Bits - math.getExponent(math.min(bound, Largest)) - 1) else 1.0
}
