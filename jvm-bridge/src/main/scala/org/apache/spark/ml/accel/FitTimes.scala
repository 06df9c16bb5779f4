package org.apache.spark.ml.accel

import org.apache.spark.SparkContext
import org.apache.spark.util.LongAccumulator

/** How long the tasks of one fit packed rows, waited for answers of the daemon, and added them up, in nanoseconds. */
final private[accel] class FitTimes(context: SparkContext) extends Serializable {
  val packing: LongAccumulator = context.longAccumulator
  val requests: LongAccumulator = context.longAccumulator
  val reduction: LongAccumulator = context.longAccumulator

  /** Adds them to the estimator's counters. */
  def count(estimator: String): Unit = {
    FitCounters.add(s"nanos.$estimator.packing", packing.value)
    FitCounters.add(s"nanos.$estimator.requests", requests.value)
    FitCounters.add(s"nanos.$estimator.reduction", reduction.value)
  }
}

private[accel] object FitTimes {
  def timed[T](nanos: LongAccumulator)(work: => T): T = {
    val start = System.nanoTime
    try work
    finally nanos.add(System.nanoTime - start)
  }
}
