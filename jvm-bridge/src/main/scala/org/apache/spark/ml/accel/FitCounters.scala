package org.apache.spark.ml.accel

import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.LongAdder

import scala.jdk.CollectionConverters._

/** What the estimators of this driver have done: `accelerated.KMeans`, `fallback.KMeans.REASON`, and the nanoseconds that
  * tasks of accelerated fits spent: `nanos.KMeans.packing`, `nanos.KMeans.requests`, `nanos.KMeans.reduction`.
  */
object FitCounters {
  private val counts = new ConcurrentHashMap[String, LongAdder]

  def add(name: String, count: Long = 1): Unit = counts.computeIfAbsent(name, _ => new LongAdder).add(count)

  /** All counts so far, sorted by name. */
  def snapshot(): java.util.Map[String, java.lang.Long] =
    new java.util.TreeMap(counts.asScala.map { case (name, count) => name -> Long.box(count.sum) }.asJava)
}
