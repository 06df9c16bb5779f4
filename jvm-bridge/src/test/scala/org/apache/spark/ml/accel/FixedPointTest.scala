package org.apache.spark.ml.accel

import scala.util.Random

import org.scalatest.funsuite.AnyFunSuite

class FixedPointTest extends AnyFunSuite {
  private def sum(values: Seq[Double], bound: Double): Double = {
    val scale = FixedPoint.scale(bound)
    val parts = values.map { value =>
      val part = new FixedPointSums(1)
      part.add(0, value, scale)
      part
    }
    parts.reduce(_.merge(_)).apply(0, scale)
  }

  test("the order of summands makes no difference, and the sum is that of float64 or better") {
    val random = new Random(1)
    for (exponent <- Seq(-300, -20, 0, 20, 300)) {
      val values = Seq.fill(1000)(math.scalb(random.nextGaussian(), exponent))
      val bound = values.map(math.abs).sum

      val found = sum(values, bound)

      assert(Seq.fill(5)(sum(random.shuffle(values), bound)).forall(_ == found))
      val exact = values.map(BigDecimal.exact).sum.toDouble
      assert(math.abs(found - exact) <= 1000 * math.ulp(bound) / 1024)
    }
  }

  test("a sum as large as its bound fits, and a bound of zero is one") {
    for (bound <- Seq(1.0, 1.999, 2.0, 1e300)) assert(math.abs(sum(Seq(bound), bound) / bound - 1) < 1e-15)
    assert(sum(Seq(0.0, 0.0), 0) == 0)
  }

  test("NaN stays NaN") {
    assert(sum(Seq(1.0, Double.NaN), 2).isNaN)
  }

  test("a sum beyond its bound is NaN, and never another number") {
    assert(sum(Seq(1e301, 1.0), 10).isNaN)
    assert(sum(Seq(Double.PositiveInfinity), 10).isNaN)
    assert(sum(Seq.fill(10)(8.0), 8).isNaN)
    assert(sum(Seq(1e306), 1e306).isNaN)
  }
}
