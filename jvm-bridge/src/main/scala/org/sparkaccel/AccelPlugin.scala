package org.sparkaccel

import org.apache.spark.api.plugin.{DriverPlugin, ExecutorPlugin, SparkPlugin}

/** Turns spark-accel on: `spark-submit --jars "$(spark-accel jar)" --conf spark.plugins=org.sparkaccel.AccelPlugin`.
  *
  * What it does is in [[AccelDriverPlugin]] and [[AccelExecutorPlugin]]; its settings, `spark.accel.*`, are in
  * [[Settings]].
  */
class AccelPlugin extends SparkPlugin {
  override def driverPlugin(): DriverPlugin = new AccelDriverPlugin

  override def executorPlugin(): ExecutorPlugin = new AccelExecutorPlugin
}
