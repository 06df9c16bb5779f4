package org.apache.spark.ml.accel

import org.apache.spark.ml.linalg.VectorUDT
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.Dataset
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.expressions.{UnsafeArrayData, UnsafeRow}
import org.apache.spark.sql.catalyst.util.ArrayData
import org.apache.spark.sql.functions.col
import org.apache.spark.sql.types.{ArrayType, DoubleType, FloatType}
import org.apache.spark.unsafe.Platform

/** A row's features, read from Spark's own format: dense (`indices` is null) or sparse. */
final private[accel] class Features(val size: Int, val indices: Array[Int], val values: Array[Double]) {
  def dense: Boolean = indices == null

  def copy(): Features = new Features(size, indices, values.clone())
}

/** How to read the rows of [[Rows.rdd]]: features first, then the label and the weight, as far as they were asked for. */
final private[accel] class Rows(kind: Rows.Kind, labelled: Boolean, weighted: Boolean) extends Serializable {
  private val weightAt = if (labelled) 2 else 1

  /** Whether features are vectors, and not arrays. */
  def vectors: Boolean = kind == Rows.Vectors

  /** Reads one partition's features. */
  def features(): FeaturesReader = new FeaturesReader(kind)

  /** The label, 0 where none was asked for; NaN for null. */
  def label(row: InternalRow): Double = if (labelled) number(row, 1) else 0.0

  /** The weight, 1 where none was asked for; NaN for null. */
  def weight(row: InternalRow): Double = if (weighted) number(row, weightAt) else 1.0

  private def number(row: InternalRow, at: Int): Double = if (row.isNullAt(at)) Double.NaN else row.getDouble(at)
}

/** Reads the features of row after row. Objects are used again: new ones for each row take longer than all the rest. */
final private[accel] class FeaturesReader(kind: Rows.Kind) {
  private val vector = new UnsafeRow(Rows.VectorFields)
  private val array = new UnsafeArrayData
  private var dense = new Features(0, null, Array.empty)

  /** A row's features, which are not null. Those of a dense row are good until the next is read. */
  def apply(row: InternalRow): Features = kind match {
    case Rows.Arrays(elements) => read(arrayAt(row, 0), elements)
    case Rows.Vectors          =>
      val vector = structAt(row)
      if (vector.getByte(0) == Rows.DenseType) read(arrayAt(vector, 3), Rows.Doubles)
      else new Features(vector.getInt(1), vector.getArray(2).toIntArray(), vector.getArray(3).toDoubleArray())
  }

  private def read(from: ArrayData, elements: Rows.Elements): Features = {
    val n = from.numElements()
    if (dense.size != n) dense = new Features(n, null, new Array[Double](n))
    val values = dense.values
    from match {
      case unsafe: UnsafeArrayData if elements == Rows.Doubles =>
        val start = unsafe.getBaseOffset + UnsafeArrayData.calculateHeaderPortionInBytes(n)
        Platform.copyMemory(unsafe.getBaseObject, start, values, Platform.DOUBLE_ARRAY_OFFSET, 8L * n)
      case other =>
        var i = 0
        while (i < n) {
          values(i) = if (elements == Rows.Doubles) other.getDouble(i) else other.getFloat(i).toDouble
          i += 1
        }
    }
    dense
  }

  private def structAt(row: InternalRow): InternalRow = row match {
    case unsafe: UnsafeRow =>
      val place = unsafe.getLong(0)
      vector.pointTo(unsafe.getBaseObject, unsafe.getBaseOffset + (place >> 32), place.toInt)
      vector
    case other => other.getStruct(0, Rows.VectorFields)
  }

  private def arrayAt(row: InternalRow, ordinal: Int): ArrayData = row match {
    case unsafe: UnsafeRow =>
      val place = unsafe.getLong(ordinal)
      array.pointTo(unsafe.getBaseObject, unsafe.getBaseOffset + (place >> 32), place.toInt)
      array
    case other => other.getArray(ordinal)
  }
}

private[accel] object Rows {
  sealed trait Kind
  case object Vectors extends Kind
  final case class Arrays(elements: Elements) extends Kind

  sealed trait Elements
  case object Doubles extends Elements
  case object Floats extends Elements

  private[accel] val VectorFields = 4 // type, size, indices, values
  private[accel] val DenseType = 1

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
      case ArrayType(DoubleType, _) => Arrays(Doubles)
      case ArrayType(FloatType, _)  => Arrays(Floats)
      case other                    => throw new IllegalArgumentException(s"features of type ${other.simpleString}")
    }
    (input.queryExecution.toRdd, new Rows(kind, label.isDefined, named.isDefined))
  }
}
