package org.sparkaccel

import java.nio.{ByteBuffer, ByteOrder}

/** An input of a kernel: values row by row, in the order of `shape`; `bytes` are little-endian. */
final class KernelTensor private (val datatype: String, val shape: Seq[Long], val bytes: ByteBuffer)

/** Of an array, with its length as shape unless another one is given, as in `KernelTensor(values, rows, columns)`. */
object KernelTensor {
  def apply(values: Array[Float], shape: Long*): KernelTensor =
    made("FP32", values.length, 4, shape)(_.asFloatBuffer.put(values))

  def apply(values: Array[Double], shape: Long*): KernelTensor =
    made("FP64", values.length, 8, shape)(_.asDoubleBuffer.put(values))

  def apply(values: Array[Int], shape: Long*): KernelTensor =
    made("INT32", values.length, 4, shape)(_.asIntBuffer.put(values))

  def apply(values: Array[Long], shape: Long*): KernelTensor =
    made("INT64", values.length, 8, shape)(_.asLongBuffer.put(values))

  private def made(datatype: String, length: Int, itemBytes: Int, shape: Seq[Long])(fill: ByteBuffer => Unit) = {
    val dimensions = if (shape.isEmpty) Seq(length.toLong) else shape
    require(
      dimensions.product == length,
      s"$length values do not fill the shape ${dimensions.mkString("[", ", ", "]")}"
    )
    val buffer = ByteBuffer.allocate(Math.multiplyExact(length, itemBytes)).order(ByteOrder.LITTLE_ENDIAN)
    fill(buffer)
    new KernelTensor(datatype, dimensions, buffer)
  }
}
