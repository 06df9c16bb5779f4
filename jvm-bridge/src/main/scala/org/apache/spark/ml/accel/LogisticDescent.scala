package org.apache.spark.ml.accel

import scala.collection.mutable.ArrayBuffer

import breeze.linalg.{DenseVector => BreezeVector}
import breeze.optimize.{CachedDiffFunction, DiffFunction, FirstOrderMinimizer}
import org.apache.spark.SparkException
import org.apache.spark.ml.optim.loss.L2Regularization

/** Minimises the loss over packed rows with one of Breeze's optimisers. */
final private[accel] class LogisticDescent(
    data: PackedDataset,
    space: LogisticSpace,
    regularization: Option[L2Regularization],
    aggregationDepth: Int
) {
  import LogisticDescent.Optimizer

  /** The solution and the objective at each step, from an initial solution for features that are not centred; neither is
    * the solution's intercept. Throws SparkException if the optimiser gives up at once.
    */
  def minimize(optimizer: Optimizer, initial: Array[Double]): (Array[Double], Array[Double]) = {
    val loss = new LogisticLoss(data, space, regularization, aggregationDepth)
    try {
      val states = optimizer.iterations(new CachedDiffFunction(loss), new BreezeVector(moved(initial, 1)))
      val history = new ArrayBuffer[Double]
      var last = Option.empty[Array[Double]]
      states.foreach { state =>
        history += state.adjustedValue
        last = Some(state.x.toArray)
      }
      val solution = last.getOrElse(throw new SparkException(s"${optimizer.getClass.getName} failed."))
      (moved(solution, -1), history.toArray)
    } finally loss.close()
  }

  /** Intercepts for centred features from those for features as they are (`sign` 1), or back (-1). */
  private def moved(solution: Array[Double], sign: Int): Array[Double] = {
    import space.{features, inverseStd, mean, sets}
    val result = solution.clone()
    if (space.centred) {
      for (set <- 0 until sets) {
        var sum = 0.0
        for (j <- 0 until features) sum += solution(set + j * sets) * mean(j) * inverseStd(j)
        result(sets * features + set) += sign * sum
      }
    }
    result
  }
}

private[accel] object LogisticDescent {
  type Optimizer = FirstOrderMinimizer[BreezeVector[Double], DiffFunction[BreezeVector[Double]]]
}
