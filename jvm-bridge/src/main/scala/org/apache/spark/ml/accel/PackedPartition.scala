package org.apache.spark.ml.accel

import java.util.Arrays

import org.sparkaccel.{KernelCall, Region}

/** One column of a packed partition: `elements` elements of `datatype`, `bytes` bytes at `offset` of a region. */
final private[accel] case class PackedColumn(
    name: String,
    datatype: String,
    region: Region,
    offset: Long,
    bytes: Long,
    elements: Long
)

/** A partition as the daemon's kernels read it: `docs/estimator-kernels.md` says how its columns lie.
  *
  * @param shift
  *   what was subtracted from each row, so that float32 holds it well; all zeros for sparse rows and for float64
  */
final private[accel] class PackedPartition(
    val rows: Int,
    val features: Int,
    val shift: Array[Double],
    columns: Seq[PackedColumn],
    float64: Boolean
) extends AutoCloseable {

  /** What k-means|| has drawn its last sample from. */
  @volatile var nearest: Option[NearestCentres] = None

  private val regions = columns.map(_.region).distinct
  private val byName = columns.map(column => column.name -> column).toMap

  /** Whether the daemon that has it has gone. */
  def lost: Boolean = regions.exists(_.lost)

  /** Has kernel `model` work on it; see [[org.sparkaccel.KernelCall.send]] for what it gives. */
  def call(model: String)(complete: KernelCall => KernelCall): () => KernelCall.Answer = {
    val call = new KernelCall(if (float64) s"${model}_fp64" else model)
      .parameter("rows", rows.toLong)
      .parameter("features", features.toLong)
      .parameter("content_version", 1L) // a region is written once
    for (column <- columns)
      call.region(column.name, column.datatype, column.elements, column.region, column.offset, column.bytes)
    complete(call).send(regions.head.client)
  }

  /** Points [n x features], one after the other, in the coordinates of the packed rows. */
  def shifted(points: Array[Double]): Array[Double] = {
    val moved = new Array[Double](points.length)
    var i = 0
    while (i < points.length) {
      moved(i) = points(i) - shift(i % features)
      i += 1
    }
    moved
  }

  /** Row `index` as it was before it was packed, but for the rounding to float32. */
  def row(index: Int): Array[Double] = {
    val width = if (float64) 8 else 4
    def values(first: Long, count: Int): Array[Double] = {
      val column = byName("values")
      val buffer = column.region.read(column.offset + width * first, width * count)
      val read = new Array[Double](count)
      Arrays.setAll(read, (_: Int) => if (float64) buffer.getDouble() else buffer.getFloat().toDouble)
      read
    }
    byName.get("row_pointers") match {
      case None =>
        val row = values(index.toLong * Packing.stride(features), features)
        Arrays.setAll(row, (j: Int) => row(j) + shift(j))
        row
      case Some(pointers) =>
        val both = pointers.region.read(pointers.offset + 8L * index, 16)
        val (first, end) = (both.getLong(), both.getLong())
        val column = byName("indices")
        val indices = column.region.read(column.offset + 4 * first, 4 * (end - first).toInt)
        val row = new Array[Double](features)
        values(first, (end - first).toInt).foreach(value => row(indices.getInt()) = value)
        row
    }
  }

  override def close(): Unit = regions.foreach(_.close())
}
