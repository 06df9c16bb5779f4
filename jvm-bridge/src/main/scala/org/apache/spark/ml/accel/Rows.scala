package org.apache.spark.ml.accel

import org.apache.spark.ml.linalg.VectorUDT
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.Dataset
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.UnsafeArrayData
import org.apache.spark.sql.catalyst.util.ArrayData
import org.apache.spark.sql.functions.col
import org.apache.spark.sql.types.{ArrayType, DoubleType, FloatType}
import org.apache.spark.unsafe.Platform

/** A row's features, read from Spark's own format: dense (`indices` is null) or sparse. */
final private[accel] class Features(val size: Int, val indices: Array[Int], val values: Array[Double]) {
  def dense: Boolean = indices == null
}

/** How to read the rows of [[Rows.rdd]]: features first, then the label and the weight, as far as they were asked for. */
final private[accel] class Rows(kind: Rows.Kind, labelled: Boolean, weighted: Boolean) extends Serializable {
  private val weightAt = if (labelled) 2 else 1

  /** Whether features are vectors, and not arrays. */
  def vectors: Boolean = kind == Rows.Vectors

  /** The features; None for null. Their values are in `memory` if that has their length. */
  def features(row: InternalRow, memory: Array[Double] = Array.empty): Option[Features] =
    if (row.isNullAt(0)) None
    else
      kind match {
        case Rows.Vectors =>
          val vector = row.getStruct(0, Rows.VectorFields)
          val values = Rows.doubles(vector.getArray(3), memory)
          if (vector.getByte(0) == Rows.DenseType) Some(new Features(values.length, null, values))
          else Some(new Features(vector.getInt(1), vector.getArray(2).toIntArray(), values))
        case Rows.Doubles =>
          val values = Rows.doubles(row.getArray(0), memory)
          Some(new Features(values.length, null, values))
        case Rows.Floats =>
          val values = row.getArray(0).toFloatArray().map(_.toDouble)
          Some(new Features(values.length, null, values))
      }

  /** The label, 0 where none was asked for; NaN for null. */
  def label(row: InternalRow): Double = if (labelled) number(row, 1) else 0.0

  /** The weight, 1 where none was asked for; NaN for null. */
  def weight(row: InternalRow): Double = if (weighted) number(row, weightAt) else 1.0

  private def number(row: InternalRow, at: Int): Double = if (row.isNullAt(at)) Double.NaN else row.getDouble(at)
}

private[accel] object Rows {
  sealed trait Kind
  case object Vectors extends Kind
  case object Doubles extends Kind
  case object Floats extends Kind

  /** An array's elements, in `memory` if that has their number: new memory for each row takes longer than the rest. */
  private def doubles(array: ArrayData, memory: Array[Double]): Array[Double] = array match {
    case unsafe: UnsafeArrayData if unsafe.numElements == memory.length =>
      val start = unsafe.getBaseOffset + UnsafeArrayData.calculateHeaderPortionInBytes(memory.length)
      Platform.copyMemory(unsafe.getBaseObject, start, memory, Platform.DOUBLE_ARRAY_OFFSET, 8L * memory.length)
      memory
    case other => other.toDoubleArray()
  }

  private val VectorFields = 4 // type, size, indices, values
  private val DenseType = 1

  /** The columns that an estimator trains on, in Spark's own format (twice as fast to read as rows of objects), and their
    * reader. `features` are of a type that the estimator takes, which is for it to check.
    */
  def rdd(
      dataset: Dataset[_],
      features: String,
      label: Option[String],
      weight: Option[String]
  ): (RDD[InternalRow], Rows) = {
    val named = weight.filter(_.nonEmpty)
    val wanted = (features +: (label.toSeq ++ named)).map(col)
    // Of what the columns are, and not of the dataset's fields: a name may be that of a field in a struct.
    val selected = dataset.select(wanted: _*)
    val types = selected.schema.map(_.dataType)
    // Columns that need no cast cost no projection, which would copy the whole row, and no second analysis.
    val input =
      if (types.tail.forall(_ == DoubleType)) selected
      else dataset.select(wanted.head +: wanted.tail.map(_.cast(DoubleType)): _*)
    val kind = types.head match {
      case _: VectorUDT             => Vectors
      case ArrayType(DoubleType, _) => Doubles
      case ArrayType(FloatType, _)  => Floats
      case other                    => throw new IllegalArgumentException(s"features of type ${other.simpleString}")
    }
    (input.queryExecution.toRdd, new Rows(kind, label.isDefined, named.isDefined))
  }
}
