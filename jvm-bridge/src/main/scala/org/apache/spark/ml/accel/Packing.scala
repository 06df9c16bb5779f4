package org.apache.spark.ml.accel

import java.nio.{ByteBuffer, ByteOrder}

import org.sparkaccel.{Region, RegionWriter}

/** What an estimator wants its rows packed as.
  *
  * @param float64
  *   whether values are kept as float64, and then as they are
  * @param shifted
  *   whether float32 values may be shifted (a sparse partition's never are)
  * @param shift
  *   the shift to take, where one is known to be better than what each partition finds by itself
  * @param normalized
  *   whether rows are scaled to length 1
  * @param labels
  *   whether rows have labels
  * @param values
  *   which values are taken; others are left to stock Spark, which has its own words for them
  */
final private[accel] case class Packing(
    float64: Boolean,
    shifted: Boolean = true,
    shift: Option[Array[Double]] = None,
    normalized: Boolean = false,
    labels: Boolean = true,
    values: Packing.Values = Packing.Finite
)

private[accel] object Packing {
  sealed trait Values
  case object Finite extends Values
  case object NonNegative extends Values
  case object ZeroOne extends Values

  /** Below this share of non-zero elements CSR is faster than dense rows. */
  val SparseBelow = 0.15

  /** Rows that are looked at before it is decided how the partition is packed. */
  val Sample = 256

  /** Rows of anything that follow dense values in a region: so far behind the last row kernels read. */
  val SpareRows = 15

  /** Labels below are counted in arrays. */
  val MostClasses: Int = 1 << 16

  /** How many elements a dense row occupies: rows start at multiples of a vector of 16. */
  def stride(features: Int): Int = (features + 15) / 16 * 16
}

/** Appends columns to a region. Little-endian, each column at a multiple of 64 bytes. */
final private[accel] class ColumnWriter(writer: RegionWriter) {
  private val buffer = ByteBuffer.allocateDirect(ColumnWriter.Chunk).order(ByteOrder.LITTLE_ENDIAN)
  private val (asFloats, asDoubles) = (buffer.asFloatBuffer, buffer.asDoubleBuffer)
  private val (asInts, asLongs) = (buffer.asIntBuffer, buffer.asLongBuffer)
  private val putFloats: ColumnWriter.Put[Float] = (at, values, from, count) => asFloats.put(at, values, from, count)
  private val putDoubles: ColumnWriter.Put[Double] = (at, values, from, count) => asDoubles.put(at, values, from, count)
  private val putInts: ColumnWriter.Put[Int] = (at, values, from, count) => asInts.put(at, values, from, count)
  private val putLongs: ColumnWriter.Put[Long] = (at, values, from, count) => asLongs.put(at, values, from, count)

  /** Bytes so far. */
  def position: Long = writer.size + buffer.position()

  def floats(values: Array[Float], count: Int): Unit = append(values, count, 4, putFloats)

  def doubles(values: Array[Double], count: Int): Unit = append(values, count, 8, putDoubles)

  def ints(values: Array[Int], count: Int): Unit = append(values, count, 4, putInts)

  def longs(values: Array[Long], count: Int): Unit = append(values, count, 8, putLongs)

  /** Fills up to the next multiple of 64 bytes. */
  def align(): Unit = zeros((64 - position % 64) % 64)

  /** Appends so many bytes. */
  def zeros(bytes: Long): Unit = {
    var left = bytes
    while (left > 0) {
      val n = room(math.min(left, ColumnWriter.Chunk.toLong).toInt, 1)
      (0 until n).foreach(i => buffer.put(buffer.position() + i, 0.toByte))
      left -= advance(n, 1)
    }
  }

  def finish(): Region = {
    flush()
    writer.register()
  }

  /** Columns are aligned and the buffer is flushed when it is full, so that elements are whole in it. */
  private def append[A](values: Array[A], count: Int, size: Int, put: ColumnWriter.Put[A]): Unit = {
    var done = 0
    while (done < count) {
      val n = room(count - done, size)
      put(buffer.position() / size, values, done, n)
      done += advance(n, size)
    }
  }

  /** How many of `wanted` elements of `size` bytes the buffer takes; one at least. */
  private def room(wanted: Int, size: Int): Int = {
    if (buffer.remaining < size) flush()
    math.min(wanted, buffer.remaining / size)
  }

  private def advance(elements: Int, size: Int): Int = {
    buffer.position(buffer.position() + elements * size)
    elements
  }

  private def flush(): Unit = {
    buffer.flip()
    writer.write(buffer)
    buffer.clear()
  }
}

private object ColumnWriter {

  /** Copies `count` elements to the buffer's element `at` on. An object a type: one a row would be too many. */
  private trait Put[A] {
    def apply(at: Int, values: Array[A], from: Int, count: Int): Any
  }

  private val Chunk = 1 << 20
}
