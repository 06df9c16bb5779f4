package org.apache.spark.ml.accel

import scala.util.Random

import org.apache.spark.ml.linalg.{Vector, Vectors}
import org.apache.spark.mllib.linalg.{Vectors => OldVectors}
import org.apache.spark.mllib.stat.MultivariateOnlineSummarizer
import org.scalatest.funsuite.AnyFunSuite

class DataFactsTest extends AnyFunSuite {
  private def part(index: Int, rows: Seq[(Vector, Double)], shift: Array[Double]): PartitionFacts = {
    val moments = new DenseMoments(shift)
    val deviation = new Array[Double](shift.length)
    for ((row, weight) <- rows) moments.add(row.toArray, weight, deviation)
    facts(index, rows, moments)
  }

  private def sparsePart(index: Int, rows: Seq[(Vector, Double)]): PartitionFacts = {
    val moments = new SparseMoments(3)
    for ((row, weight) <- rows) moments.add(row.toSparse.indices, row.toSparse.values, weight)
    facts(index, rows, moments)
  }

  private def facts(index: Int, rows: Seq[(Vector, Double)], moments: Moments): PartitionFacts = {
    val labels = new Labels
    for ((_, weight) <- rows) labels.add(1, weight)
    val weights = rows.map(_._2)
    PartitionFacts(index, rows.size, 3, weights.sum, weights.map(w => w * w).sum, Some(moments), labels)
  }

  /** Rows with a feature that is often zero, one that is always 0.1, and one that never is anything but zero. */
  private def sparse(rows: Int, seed: Int): Seq[(Vector, Double)] = {
    val generator = new Random(seed)
    Seq.fill(rows) {
      (
        Vectors.dense(if (generator.nextBoolean()) 1e3 + generator.nextGaussian() else 0, 0.1, 0),
        0.1 * generator.nextInt(3)
      )
    }
  }

  private def random(rows: Int, mean: Double, seed: Int): Seq[(Vector, Double)] = {
    val generator = new Random(seed)
    Seq.fill(rows) {
      (
        Vectors.dense(mean + generator.nextGaussian(), 17.25, generator.nextGaussian() * 1e6),
        generator.nextInt(3).toDouble
      )
    }
  }

  test("means and deviations are the Summarizer's, whatever each partition's shift") {
    val (left, right) = (random(100, 1e4, 1), random(50, 1e4 + 3, 2))
    val facts = new DataFacts(
      Seq(
        part(1, right, Array(1e4 + 2, 17.25, 0)),
        part(0, left, Array(1e4, 17.25, 0)),
        part(2, Seq.empty, Array(0, 0, 0))
      )
    )

    checkSummary(facts, left ++ right)
    assert(facts.rows == 150)
    assert(facts.labels.count(1) == 150)
  }

  test("means and deviations of sparse rows are the Summarizer's, alone and beside dense ones") {
    val (left, right) = (sparse(100, 1), sparse(50, 2))

    checkSummary(new DataFacts(Seq(sparsePart(0, left), sparsePart(1, right))), left ++ right)
    checkSummary(new DataFacts(Seq(sparsePart(0, left), part(1, right, Array(500, 0.1, 0)))), left ++ right)
  }

  private def checkSummary(facts: DataFacts, rows: Seq[(Vector, Double)]): Unit = {
    val stock = new MultivariateOnlineSummarizer
    for ((row, weight) <- rows) stock.add(OldVectors.fromML(row), weight)
    for (j <- 0 until 3) {
      assert(math.abs(facts.mean(j) - stock.mean(j)) <= 1e-12 * math.abs(stock.mean(j)))
      assert(math.abs(facts.std(j) - math.sqrt(stock.variance(j))) <= 1e-9 * math.sqrt(stock.variance(j)))
    }
  }

  test("a constant feature deviates by exactly nothing") {
    val facts =
      new DataFacts(Seq(part(0, random(100, 0, 1), Array(0, 17.25, 0)), part(1, random(10, 0, 2), Array(1, 17.25, 5))))

    assert(facts.mean(1) == 17.25)
    assert(facts.std(1) == 0)
  }

  test("nor does one of sparse rows, though it is no binary fraction") {
    val facts = new DataFacts(Seq(sparsePart(0, sparse(1000, 1)), sparsePart(1, sparse(100, 2))))

    assert(facts.mean(1) == 0.1)
    assert(facts.std(1) == 0)
    assert(facts.std(2) == 0)
  }

  test("no value is farther from the mean than the reach") {
    val rows = random(200, 5, 3)
    val facts =
      new DataFacts(Seq(part(0, rows.take(30), Array(4, 17.25, 1e5)), part(1, rows.drop(30), Array(7, 17.25, 0))))

    for ((row, _) <- rows; j <- 0 until 3) assert(math.abs(row(j) - facts.mean(j)) <= facts.reach(j) * (1 + 1e-12))
  }

  test("a partition that drifts away from its first rows is noticed, and so are values that float32 does not hold") {
    val good = part(0, random(100, 1e4, 1), Array(1e4, 17.25, 0))
    val far = part(1, random(100, 1e4, 1), Array(0, 17.25, 0))
    val huge = part(2, Seq((Vectors.dense(1e30, 17.25, 0), 1.0)), Array(0, 17.25, 0))

    assert(new DataFacts(Seq(good)).shiftsAreGood)
    assert(!new DataFacts(Seq(good, far)).shiftsAreGood)
    assert(new DataFacts(Seq(good)).fitsFloat32)
    assert(!new DataFacts(Seq(good, huge)).fitsFloat32)
  }
}
