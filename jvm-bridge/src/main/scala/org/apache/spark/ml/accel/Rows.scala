package org.apache.spark.ml.accel

import org.apache.spark.ml.linalg.VectorUDT
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.{Column, Dataset}
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.functions.{col, lit}
import org.apache.spark.sql.types.{ArrayType, DataType, DoubleType, FloatType}

/** A row's features, read from Spark's own format: dense (`indices` is null) or sparse. */
final private[accel] class Features(val size: Int, val indices: Array[Int], val values: Array[Double]) {
  def dense: Boolean = indices == null
}

/** The columns that an estimator trains on, as an RDD of (features, label, weight), and how to read its rows. A label or
  * weight that is not asked for is 0 or 1.
  */
final private[accel] class Rows(kind: Rows.Kind) extends Serializable {

  /** The features; None for null, or a null among them. */
  def features(row: InternalRow): Option[Features] =
    if (row.isNullAt(0)) None
    else
      kind match {
        case Rows.Vectors =>
          val vector = row.getStruct(0, Rows.VectorFields)
          val values = vector.getArray(3).toDoubleArray()
          if (vector.getByte(0) == Rows.DenseType) Some(new Features(values.length, null, values))
          else Some(new Features(vector.getInt(1), vector.getArray(2).toIntArray(), values))
        case Rows.Doubles =>
          val values = row.getArray(0).toDoubleArray()
          Some(new Features(values.length, null, values))
        case Rows.Floats =>
          val values = row.getArray(0).toFloatArray().map(_.toDouble)
          Some(new Features(values.length, null, values))
      }

  /** The label; NaN for null. */
  def label(row: InternalRow): Double = if (row.isNullAt(1)) Double.NaN else row.getDouble(1)

  /** The weight; NaN for null. */
  def weight(row: InternalRow): Double = if (row.isNullAt(2)) Double.NaN else row.getDouble(2)
}

private[accel] object Rows {
  sealed trait Kind
  case object Vectors extends Kind
  case object Doubles extends Kind
  case object Floats extends Kind

  private val VectorFields = 4 // type, size, indices, values
  private val DenseType = 1

  /** How features of a column's type are read; None for a type that estimators don't take. */
  def kind(features: DataType): Option[Kind] = features match {
    case _: VectorUDT             => Some(Vectors)
    case ArrayType(DoubleType, _) => Some(Doubles)
    case ArrayType(FloatType, _)  => Some(Floats)
    case _                        => None
  }

  /** The columns of `dataset`, in Spark's own format: the faster way, by a factor of two, than rows of objects. */
  def rdd(dataset: Dataset[_], features: String, label: Option[String], weight: Option[String]): RDD[InternalRow] = {
    def double(name: Option[String], default: Double): Column =
      name.filter(_.nonEmpty).fold(lit(default))(col(_).cast(DoubleType))
    dataset.select(col(features), double(label, 0), double(weight, 1)).queryExecution.toRdd
  }
}
