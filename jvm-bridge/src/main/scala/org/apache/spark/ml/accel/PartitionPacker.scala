package org.apache.spark.ml.accel

import scala.collection.mutable.ArrayBuffer

import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.util.collection.PrimitiveVector
import org.sparkaccel.RegionWriter

/** Packs the rows of one partition into regions and gathers what an estimator needs to know first, in one pass.
  *
  * A partition is packed as CSR if few elements of its first rows are non-zero, else as dense rows. Rows that stock
  * Spark has something to say about (null, NaN, a negative weight, …) end the packing: its own words are the best.
  */
final private[accel] class PartitionPacker(rows: Rows, packing: Packing, newRegion: () => RegionWriter) {
  import PartitionPacker._

  /** The packed partition, None for one without rows or with a row that is refused. */
  def pack(index: Int, input: Iterator[InternalRow]): (PartitionFacts, Option[PackedPartition]) =
    try {
      val sample = new ArrayBuffer[Row]
      while (sample.size < Packing.Sample && input.hasNext) sample += read(input.next())
      if (sample.isEmpty) (empty(index), None)
      else {
        val features = sample.head.features.size
        if (sample.exists(_.features.size != features)) refuse("vectors of different lengths")
        val nonZero = sample.map(row => nonZeros(row.features.values)).sum
        val sparse = nonZero < Packing.SparseBelow * features * sample.size
        val encoder =
          if (sparse) new SparseEncoder(features, packing, newRegion)
          else new DenseEncoder(moments(sample.toSeq, features), packing, newRegion)
        val memory = new Array[Double](features) // of the row that is being encoded
        encode(index, encoder, sample.iterator ++ input.map(read(_, memory)))
      }
    } catch { case left: LeftToSpark => (empty(index).copy(refused = Some(left)), None) }

  private def encode(index: Int, encoder: Encoder, input: Iterator[Row]): (PartitionFacts, Option[PackedPartition]) =
    try {
      val labels = new Labels
      val labelOfRow = new PrimitiveVector[Int]
      val weightOfRow = new PrimitiveVector[Double]
      var (weightSum, weightSquareSum, plain) = (0.0, 0.0, true)
      for (row <- input) {
        if (row.features.size != encoder.features) refuse("vectors of different lengths")
        encoder.add(row.features, row.weight)
        labels.add(row.label, row.weight)
        labelOfRow += row.label
        weightOfRow += row.weight
        plain &&= row.weight == 1.0
        weightSum += row.weight
        weightSquareSum += row.weight * row.weight
      }
      if (!encoder.moments.finite) refuse("features that are NaN or infinite")
      val n = labelOfRow.size
      val columns = encoder.finish { writer =>
        val labelColumn =
          column(writer, "labels", "INT32", 4, if (packing.labels) n else 0)(_.ints(labelOfRow.trim().array, n))
        val weightColumn = column(writer, "weights", "FP64", 8, if (plain) 0 else n) {
          _.doubles(weightOfRow.trim().array, n)
        }
        Seq(labelColumn, weightColumn).filter(_.elements > 0)
      }
      val packed = new PackedPartition(n, encoder.features, encoder.shift, columns, packing.float64)
      val facts = PartitionFacts(
        index,
        n,
        encoder.features,
        weightSum,
        weightSquareSum,
        Some(encoder.moments),
        labels,
        encoder.sparse
      )
      (facts, Some(packed))
    } catch {
      case error: Throwable =>
        encoder.abandon()
        throw error
    }

  private def read(row: InternalRow, memory: Array[Double] = Array.empty): Row = {
    val features = rows.features(row, memory).getOrElse(refuse("rows without features"))
    if (features.size == 0) refuse("vectors of length 0")
    val label = rows.label(row)
    if (!(label >= 0 && label == label.toInt)) refuse("labels that are no classes")
    if (label >= Packing.MostClasses)
      throw new LeftToSpark(Fallback.Classes, s"there are labels from ${Packing.MostClasses} on")
    val weight = rows.weight(row)
    if (!(weight >= 0 && weight < Double.PositiveInfinity))
      refuse("weights that are negative, infinite or NaN")
    check(features.values)
    if (packing.normalized) normalize(features.values)
    new Row(features, label.toInt, weight)
  }

  private def check(values: Array[Double]): Unit = packing.values match {
    case Packing.Finite      => // shows in the moments
    case Packing.NonNegative =>
      var (i, least) = (0, 0.0)
      while (i < values.length) { least = math.min(least, values(i)); i += 1 }
      if (!(least >= 0)) refuse("negative features")
    case Packing.ZeroOne =>
      var i = 0
      while (i < values.length) {
        if (values(i) != 0 && values(i) != 1) refuse("features other than 0 and 1")
        i += 1
      }
  }

  private def normalize(values: Array[Double]): Unit = {
    var (i, sum) = (0, 0.0)
    while (i < values.length) { sum += values(i) * values(i); i += 1 }
    val norm = math.sqrt(sum)
    if (!(norm > 0)) refuse("vectors of length zero")
    i = 0
    while (i < values.length) { values(i) /= norm; i += 1 }
  }

  /** Moments about a point near the data: a feature's mean in the first rows, or its value if that is the same in all of
    * them, so that a constant feature has deviations of exactly zero.
    */
  private def moments(sample: Seq[Row], features: Int): Moments = {
    val counted = sample.filter(_.weight > 0)
    val shift = packing.shift.getOrElse {
      val mean = new Array[Double](features)
      val dense = (if (counted.isEmpty) sample else counted).map(row => densified(row.features, features))
      for (j <- 0 until features) {
        val first = dense.head(j)
        mean(j) = if (dense.forall(_(j) == first)) first else dense.iterator.map(_(j)).sum / dense.size
      }
      if (mean.forall(value => !value.isNaN && !value.isInfinite)) mean
      else refuse("features that are NaN or infinite")
    }
    new Moments(shift)
  }

  private def empty(index: Int) = PartitionFacts(index, 0, 0, 0, 0, None, new Labels, sparse = false)
}

private object PartitionPacker {
  private def refuse(what: String): Nothing = throw new LeftToSpark(Fallback.Rows, s"there are $what")

  final private class Row(val features: Features, val label: Int, val weight: Double)

  private def nonZeros(values: Array[Double]): Long = {
    var (i, count) = (0, 0L)
    while (i < values.length) { if (values(i) != 0) count += 1; i += 1 }
    count
  }

  def densified(features: Features, size: Int): Array[Double] =
    if (features.dense) features.values
    else {
      val row = new Array[Double](size)
      var i = 0
      while (i < features.indices.length) { row(features.indices(i)) = features.values(i); i += 1 }
      row
    }

  /** Writes a column and says where it is; its region is not yet registered. */
  def column(writer: ColumnWriter, name: String, datatype: String, width: Int, elements: Int)(
      write: ColumnWriter => Unit
  ): PackedColumn = {
    writer.align()
    val offset = writer.position
    if (elements > 0) write(writer)
    PackedColumn(name, datatype, null, offset, width.toLong * elements, elements.toLong)
  }
}
