package org.apache.spark.ml.accel

import org.sparkaccel.KernelFailed

/** Sums that don't depend on the order in which tasks end: each partition's float64 sum is rounded to a multiple of a
  * power of two, and added as a 64-bit integer. With a bound on the sum's absolute value known beforehand nothing
  * overflows, and the step is 2^-61^ of the bound or less: finer than the rounding of a float64 sum of the same terms.
  *
  * Scales are the inverses of the steps, powers of two from [[FixedPoint.scale]]; the same one goes with an element
  * throughout.
  */
final class FixedPointSums(length: Int) extends Serializable {
  private val sums = new Array[Long](length)
  private var undefined = false // an element was NaN, or beyond what its scale is for

  /** Adds to one element. */
  def add(index: Int, value: Double, scale: Double): Unit = {
    val steps = value * scale
    undefined ||= !(math.abs(steps) <= FixedPoint.Most)
    plus(index, math.rint(steps).toLong)
  }

  private def plus(index: Int, steps: Long): Unit = {
    val before = sums(index)
    val after = before + steps
    undefined ||= ((before ^ after) & (steps ^ after)) < 0 // it has overflowed
    sums(index) = after
  }

  /** Itself; throws [[org.sparkaccel.KernelFailed]] if an element was NaN, or beyond what its bound allows. */
  def sound(kernel: String): this.type = {
    if (undefined) throw new KernelFailed(s"kernel $kernel answered sums that its rows can't have")
    this
  }

  def merge(that: FixedPointSums): this.type = {
    var i = 0
    while (i < sums.length) {
      plus(i, that.sums(i))
      i += 1
    }
    undefined ||= that.undefined
    this
  }

  def apply(index: Int, scale: Double): Double = if (undefined) Double.NaN else sums(index) / scale
}

object FixedPoint {
  private val Bits = 61
  private val Extreme = 1000
  private[accel] val Most = math.scalb(1.0, Bits)

  /** The largest power of two by which sums of absolute value at most `bound` fit in a long, but for extreme bounds. */
  def scale(bound: Double): Double =
    if (bound > 0) {
      val largest = math.min(bound, math.scalb(1.0, Extreme))
      math.scalb(1.0, math.min(Extreme, Bits - math.getExponent(largest) - 1))
    } else 1.0
}
