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

  private val features = rows.features()

  /** The packed partition, None for one without rows or with a row that is refused. */
  def pack(index: Int, input: Iterator[InternalRow]): (PartitionFacts, Option[PackedPartition]) =
    try {
      val sample = new ArrayBuffer[Row]
      while (sample.size < Packing.Sample && input.hasNext) {
        val row = input.next()
        sample += new Row(read(row).copy(), label(row), weight(row))
      }
      if (sample.isEmpty) (empty(index), None)
      else {
        val size = sample.head.features.size
        if (sample.exists(_.features.size != size)) refuse("vectors of different lengths")
        val nonZero = sample.map(row => nonZeros(row.features.values)).sum
        val sparse = nonZero < Packing.SparseBelow * size * sample.size
        val encoder =
          if (sparse) new SparseEncoder(size, packing, newRegion)
          else new DenseEncoder(moments(sample.toSeq, size), packing, newRegion)
        try encode(index, encoder, sample, input)
        catch {
          case error: Throwable =>
            encoder.abandon()
            throw error
        }
      }
    } catch { case left: LeftToSpark => (empty(index).copy(refused = Some(left)), None) }

  private def encode(
      index: Int,
      encoder: Encoder,
      sample: ArrayBuffer[Row],
      input: Iterator[InternalRow]
  ): (PartitionFacts, Option[PackedPartition]) = {
    val written = new Written(encoder, packing.labels)
    sample.foreach(row => written.add(row.features, row.label, row.weight))
    while (input.hasNext) {
      val row = input.next()
      written.add(read(row), label(row), weight(row))
    }
    if (!encoder.moments.finite) refuse("features that are NaN or infinite")
    val columns = encoder.finish(written.columns)
    val packed = new PackedPartition(written.rows, encoder.features, encoder.shift, columns, packing.float64)
    (written.facts(index), Some(packed))
  }

  private def read(row: InternalRow): Features = {
    if (row.isNullAt(0)) refuse("rows without features")
    val found = features(row)
    if (found.size == 0) refuse("vectors of length 0")
    check(found.values)
    if (packing.normalized) normalize(found.values)
    found
  }

  private def label(row: InternalRow): Int = {
    val label = rows.label(row)
    if (!(label >= 0 && label == label.toInt)) refuse("labels that are no classes")
    if (label >= Packing.MostClasses)
      throw new LeftToSpark(Fallback.Classes, s"there are labels from ${Packing.MostClasses} on")
    label.toInt
  }

  private def weight(row: InternalRow): Double = {
    val weight = rows.weight(row)
    if (!(weight >= 0 && weight < Double.PositiveInfinity))
      refuse("weights that are negative, infinite or NaN")
    weight
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
    * them, so that a constant feature has deviations of exactly zero. Where all are whole numbers it is one, too: then
    * float32 has the deviations exactly, and rows that are equally far from a centre stay so.
    */
  private def moments(sample: Seq[Row], size: Int): DenseMoments = {
    val counted = sample.filter(_.weight > 0)
    val shift = packing.shift.getOrElse {
      val rows = (if (counted.isEmpty) sample else counted).map(row => densified(row.features, size)).toArray
      val centre = PartitionPacker.centre(rows)
      if (centre.forall(value => !value.isNaN && !value.isInfinite)) centre
      else refuse("features that are NaN or infinite")
    }
    new DenseMoments(shift)
  }

  private def empty(index: Int) = PartitionFacts(index, 0, 0, 0, 0, None, new Labels)
}

private object PartitionPacker {
  private def refuse(what: String): Nothing = throw new LeftToSpark(Fallback.Rows, s"there are $what")

  final private class Row(val features: Features, val label: Int, val weight: Double)

  /** The rows that an encoder has written, and what goes with them. */
  final private class Written(encoder: Encoder, labelled: Boolean) {
    private val labels = new Labels
    private val labelOfRow = new PrimitiveVector[Int]
    private val weightOfRow = new PrimitiveVector[Double] // empty so long as all are 1
    private var plain = true
    private var (weightSum, weightSquareSum) = (0.0, 0.0)
    var rows = 0

    def add(features: Features, label: Int, weight: Double): Unit = {
      if (features.size != encoder.features) refuse("vectors of different lengths")
      encoder.add(features, weight)
      labels.add(label, weight)
      if (labelled) labelOfRow += label
      if (plain && weight != 1.0) {
        plain = false
        for (_ <- 0 until rows) weightOfRow += 1.0
      }
      if (!plain) weightOfRow += weight
      weightSum += weight
      weightSquareSum += weight * weight
      rows += 1
    }

    def columns(writer: ColumnWriter): Seq[PackedColumn] = {
      val labelColumn =
        column(writer, "labels", "INT32", 4, labelOfRow.size)(_.ints(labelOfRow.array, labelOfRow.size))
      val weightColumn =
        column(writer, "weights", "FP64", 8, weightOfRow.size)(_.doubles(weightOfRow.array, weightOfRow.size))
      Seq(labelColumn, weightColumn).filter(_.elements > 0)
    }

    def facts(index: Int): PartitionFacts = PartitionFacts(
      index,
      rows,
      encoder.features,
      weightSum,
      weightSquareSum,
      Some(encoder.moments),
      labels
    )
  }

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

  private def centre(rows: Array[Array[Double]]): Array[Double] = {
    val centre = new Array[Double](rows.head.length)
    var j = 0
    while (j < centre.length) {
      val first = rows(0)(j)
      var (sum, constant, whole, i) = (0.0, true, true, 0)
      while (i < rows.length) {
        val value = rows(i)(j)
        sum += value
        constant &&= value == first
        whole &&= value == math.rint(value)
        i += 1
      }
      val mean = sum / rows.length
      centre(j) = if (constant) first else if (whole) math.rint(mean) else mean
      j += 1
    }
    centre
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
