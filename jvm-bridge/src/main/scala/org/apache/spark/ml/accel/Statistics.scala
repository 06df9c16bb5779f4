package org.apache.spark.ml.accel

/** By label: how many rows have it, and their weights. */
final private[accel] class Labels extends Serializable {
  private var counts = new Array[Long](2)
  private var weights = new Array[Double](2)
  private var classes = 0

  def add(label: Int, weight: Double): Unit = add(label, 1, weight)

  def add(that: Labels): Unit = for (label <- 0 until that.size) add(label, that.count(label), that.weight(label))

  private def add(label: Int, count: Long, weight: Double): Unit = {
    if (label >= counts.length) {
      val size = math.max(label + 1, 2 * counts.length)
      counts = counts.padTo(size, 0L)
      weights = weights.padTo(size, 0.0)
    }
    counts(label) += count
    weights(label) += weight
    classes = math.max(classes, label + 1)
  }

  /** One more than the largest label. */
  def size: Int = classes

  def count(label: Int): Long = counts(label)

  def weight(label: Int): Double = weights(label)
}

/** What is known of a partition once it is packed.
  *
  * @param refused
  *   why the rows are left to stock Spark, if they are
  */
final private[accel] case class PartitionFacts(
    index: Int,
    rows: Int,
    features: Int,
    weightSum: Double,
    weightSquareSum: Double,
    moments: Option[Moments],
    labels: Labels,
    refused: Option[LeftToSpark] = None
)

/** What is known of all rows: counts, and by feature mean, variance, and largest distance from the mean. Partitions are
  * added in their order, so that the same data gives the same bits.
  */
final private[accel] class DataFacts(parts: Seq[PartitionFacts]) {
  private val filled = parts.filter(_.rows > 0).sortBy(_.index)

  val rows: Long = filled.map(_.rows.toLong).sum
  val features: Int = filled.headOption.fold(0)(_.features)
  val weightSum: Double = filled.map(_.weightSum).sum
  val weightSquareSum: Double = filled.map(_.weightSquareSum).sum
  val rowsByPartition: Map[Int, Int] = filled.map(part => part.index -> part.rows).toMap
  val labels: Labels = new Labels
  filled.foreach(part => labels.add(part.labels))

  /** Why stock Spark has to see the rows: a partition refused one, or they differ in length. */
  val refused: Option[LeftToSpark] =
    parts.flatMap(_.refused).headOption.orElse {
      Option.when(filled.exists(_.features != features))(
        new LeftToSpark(Fallback.Rows, "there are vectors of different lengths")
      )
    }

  /** Mean, and sum of weight x squared distance from the mean (Chan, Golub, LeVeque 1979, eq. 2.1). */
  lazy val (mean: Array[Double], squares: Array[Double]) = {
    val mean = new Array[Double](features)
    val squares = new Array[Double](features)
    var seen = 0.0
    for (part <- filled if part.weightSum > 0; moments <- part.moments) {
      val total = seen + part.weightSum
      for (j <- 0 until features) {
        val delta = moments.mean(j, part.weightSum) - mean(j)
        mean(j) += delta * (part.weightSum / total)
        squares(j) += moments.squares(j, part.weightSum) + delta * delta * (seen * part.weightSum / total)
      }
      seen = total
    }
    (mean, squares)
  }

  /** Unbiased standard deviations, as Spark's Summarizer has them for weighted rows. */
  lazy val std: Array[Double] = {
    val denominator = weightSum - weightSquareSum / weightSum
    squares.map(sum => if (denominator > 0) math.sqrt(sum / denominator) else 0.0)
  }

  /** Not less than the largest distance of a value from the mean, by feature. */
  lazy val reach: Array[Double] = {
    val reach = new Array[Double](features)
    for (part <- filled; moments <- part.moments; j <- 0 until features) {
      // A sparse partition's zeros are values, too, and not in `largest`.
      reach(j) = math.max(reach(j), moments.largest(j) + math.abs(moments.shift(j) - mean(j)))
    }
    reach
  }

  /** Whether sums of weights, of values and of their squares are ordinary float64 numbers. */
  lazy val summable: Boolean = {
    def ordinary(sum: Double) = sum > DataFacts.LeastSum && sum < DataFacts.MostSum
    ordinary(weightSum) && (0 until features).forall { j =>
      val most = math.max(reach(j), math.abs(mean(j)))
      (reach(j) == 0 || ordinary(
        weightSum * reach(j) * reach(j)
      )) && (most == 0 || weightSum * most * most < DataFacts.MostSum)
    }
  }

  /** Whether float32, relative to each partition's shift, keeps at least as many digits as half of float64's. */
  lazy val shiftsAreGood: Boolean = filled.forall(part => part.moments.forall(_.shiftIsGood(part.weightSum)))

  /** Whether all values, relative to the shifts, and their squares are float32's ordinary numbers. */
  lazy val fitsFloat32: Boolean = filled.forall { part =>
    part.moments.forall(
      _.largest.forall(value => value == 0 || (value > DataFacts.Smallest && value < DataFacts.Largest))
    )
  }
}

private object DataFacts {
  private val Smallest = 1e-15
  private val Largest = 1e15
  private val LeastSum = 1e-280
  private val MostSum = 1e280
}
