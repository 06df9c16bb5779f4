package org.apache.spark.ml.accel

import org.apache.spark.util.collection.PrimitiveVector
import org.sparkaccel.RegionWriter

/** Writes features into regions, in the layout of one kind of partition. */
sealed private[accel] trait Encoder {
  def features: Int
  def moments: Moments

  /** What the written rows were shifted by. */
  def shift: Array[Double]

  def add(row: Features, weight: Double): Unit

  /** Writes what comes after the rows, by `others` too, and registers the regions. */
  def finish(others: ColumnWriter => Seq[PackedColumn]): Seq[PackedColumn]

  /** Deletes what was written. */
  def abandon(): Unit

  protected def datatype(float64: Boolean): String = if (float64) "FP64" else "FP32"
}

/** Dense rows, each padded with zeros to whole vectors. */
final private[accel] class DenseEncoder(val moments: DenseMoments, packing: Packing, newRegion: () => RegionWriter)
    extends Encoder {
  val features: Int = moments.shift.length
  private val shifted = packing.shifted && !packing.float64
  val shift: Array[Double] = if (shifted) moments.shift else new Array[Double](features)

  private val region = newRegion()
  private val writer = new ColumnWriter(region)
  private val stride = Packing.stride(features)
  private val width = if (packing.float64) 8 else 4
  private val deviation = new Array[Double](features)
  private val doubles = new Array[Double](stride)
  private val floats = new Array[Float](stride)
  private var rows = 0L

  override def add(row: Features, weight: Double): Unit = {
    val values = PartitionPacker.densified(row, features)
    moments.add(values, weight, deviation)
    val written = if (shifted) deviation else values
    if (packing.float64) {
      System.arraycopy(written, 0, doubles, 0, features)
      writer.doubles(doubles, stride)
    } else {
      var j = 0
      while (j < features) { floats(j) = written(j).toFloat; j += 1 }
      writer.floats(floats, stride)
    }
    rows += 1
  }

  override def finish(others: ColumnWriter => Seq[PackedColumn]): Seq[PackedColumn] = {
    val values = PackedColumn("values", datatype(packing.float64), null, 0, writer.position, rows * stride)
    val columns = values +: others(writer)
    writer.zeros(math.max(0, values.bytes + Packing.SpareRows * stride * width - writer.position))
    val registered = writer.finish()
    columns.map(_.copy(region = registered))
  }

  override def abandon(): Unit = region.close()
}

/** CSR. Indices have a region of their own, since both grow at once. */
final private[accel] class SparseEncoder(val features: Int, packing: Packing, newRegion: () => RegionWriter)
    extends Encoder {
  val moments = new SparseMoments(features)
  val shift: Array[Double] = moments.shift

  private val valueRegion = newRegion()
  private val indexRegion =
    try newRegion()
    catch { case error: Throwable => valueRegion.close(); throw error }
  private val values = new ColumnWriter(valueRegion)
  private val indices = new ColumnWriter(indexRegion)
  private val pointers = new PrimitiveVector[Long]
  private var elements = 0L
  private var floats = new Array[Float](1024)
  pointers += 0L

  override def add(row: Features, weight: Double): Unit = {
    val sparse = if (row.dense) sparsified(row) else row
    val n = sparse.values.length
    moments.add(sparse.indices, sparse.values, weight)
    if (packing.float64) values.doubles(sparse.values, n)
    else {
      if (floats.length < n) floats = new Array[Float](n)
      var i = 0
      while (i < n) { floats(i) = sparse.values(i).toFloat; i += 1 }
      values.floats(floats, n)
    }
    indices.ints(sparse.indices, n)
    elements += n
    pointers += elements
  }

  override def finish(others: ColumnWriter => Seq[PackedColumn]): Seq[PackedColumn] = {
    val ends = pointers.trim().array
    if (elements == 0) { // a region can't be empty: the last row gets an explicit zero
      add(new Features(features, Array(0), Array(0.0)), 0)
      ends(ends.length - 1) = elements
    }
    val valueColumn = PackedColumn("values", datatype(packing.float64), null, 0, values.position, elements)
    val pointerColumn =
      PartitionPacker.column(values, "row_pointers", "INT64", 8, ends.length)(_.longs(ends, ends.length))
    val columns = valueColumn +: pointerColumn +: others(values)
    val registered = values.finish()
    val registeredIndices =
      try indices.finish()
      catch { case error: Throwable => registered.close(); throw error }
    val indexColumn = PackedColumn("indices", "INT32", registeredIndices, 0, 4 * elements, elements)
    indexColumn +: columns.map(_.copy(region = registered))
  }

  override def abandon(): Unit = {
    valueRegion.close()
    indexRegion.close()
  }

  private def sparsified(row: Features): Features = {
    val at = row.values.indices.filter(row.values(_) != 0).toArray
    new Features(row.size, at, at.map(row.values(_)))
  }
}
