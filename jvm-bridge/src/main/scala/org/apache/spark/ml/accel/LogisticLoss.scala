package org.apache.spark.ml.accel

import java.util.Arrays

import breeze.linalg.{DenseVector => BreezeVector}
import breeze.optimize.DiffFunction
import org.apache.spark.broadcast.Broadcast
import org.apache.spark.ml.linalg.{BLAS, DenseVector}
import org.apache.spark.ml.optim.loss.L2Regularization

/** Loss and gradient of a logistic regression over packed partitions, one request a partition. An optimiser sees what
  * stock Spark's loss function gives it, but for the rounding.
  *
  * Not stock's RDDLossFunction, which ends each sum in a stage of its own: for an iteration as short as these that is a
  * third of the time.
  */
final private[accel] class LogisticLoss(
    data: PackedDataset,
    space: LogisticSpace,
    regularization: Option[L2Regularization],
    aggregationDepth: Int
) extends DiffFunction[BreezeVector[Double]]
    with AutoCloseable {
  private val shared = data.context.broadcast(space)

  override def calculate(point: BreezeVector[Double]): (Double, BreezeVector[Double]) = {
    val coefficients = point.toArray
    val lossScale = space.lossScale(coefficients)
    val sums = LogisticLoss.sum(data, shared, coefficients, lossScale, aggregationDepth)
    val scales = space.gradientScales
    val gradient = new DenseVector(new Array[Double](space.dimension))
    Arrays.setAll(gradient.values, (i: Int) => sums(i, scales(i)) / space.weightSum)
    val loss = sums(space.dimension, lossScale) / space.weightSum
    val penalty = regularization.fold(0.0) { penalties =>
      val (value, slope) = penalties.calculate(new DenseVector(coefficients))
      BLAS.axpy(1.0, slope, gradient)
      value
    }
    (loss + penalty, new BreezeVector(gradient.values))
  }

  override def close(): Unit = shared.destroy()
}

private object LogisticLoss {

  /** The sums of the gradient's elements, and of the loss behind them. Coefficients travel with the tasks. */
  private def sum(
      data: PackedDataset,
      space: Broadcast[LogisticSpace],
      coefficients: Array[Double],
      lossScale: Double,
      depth: Int
  ): FixedPointSums =
    data.sum(depth)(new LogisticRequest(space.value, _).send(coefficients)) { (packed, answer) =>
      partition(new LogisticRequest(space.value, packed).sums(answer), space.value, lossScale)
    }

  private def partition(found: LogisticRequest#Sums, space: LogisticSpace, lossScale: Double): FixedPointSums = {
    val scales = space.gradientScales
    val sums = new FixedPointSums(space.dimension + 1)
    var i = 0
    while (i < space.dimension) {
      sums.add(i, found.gradient(i), scales(i))
      i += 1
    }
    sums.add(space.dimension, found.loss, lossScale)
    sums
  }
}
