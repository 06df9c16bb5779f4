package org.apache.spark.ml.accel

import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.LongAdder
import java.util.{Map => JavaMap, TreeMap}

/** Which implementation did the work: how many fits of this JVM the device did, and how many fell back and why. From
  * Python, `_jvm.org.apache.spark.ml.accel.FitCounters.snapshot()`; from SQL in local mode and in a Connect server,
  * `SELECT reflect('org.apache.spark.ml.accel.FitCounters', 'snapshot')`.
  */
object FitCounters {
  private val counts = new ConcurrentHashMap[String, LongAdder]

  /** A fit of `estimator`, such as `KMeans`, ran on the device. */
  def accelerated(estimator: String): Unit = count(s"accelerated.$estimator")

  /** A fit of `estimator` was left to stock Spark, for a reason in one word, such as `sparse`. */
  def fallback(estimator: String, reason: String): Unit = count(s"fallback.$estimator.$reason")

  /** The counts so far, by `accelerated.ESTIMATOR` and `fallback.ESTIMATOR.REASON`; what never happened is absent. */
  def snapshot: JavaMap[String, Long] = {
    val now = new TreeMap[String, Long]
    counts.forEach((name, count) => now.put(name, count.sum))
    now
  }

  private def count(name: String): Unit = counts.computeIfAbsent(name, _ => new LongAdder).increment()
}
