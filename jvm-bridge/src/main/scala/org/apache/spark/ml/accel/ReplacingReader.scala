package org.apache.spark.ml.accel

import org.apache.spark.ml.util.{MLReadable, MLReader}

/** The companion of a class that stands in for a stock one: it loads what `stock` reads, and makes ours of it.
  *
  * Python calls `read`, and Spark Connect `load`, as static methods of the class, so both are defined here. Each class
  * needs a companion of its own, or it inherits the static methods of the class it extends.
  */
abstract class ReplacingReadable[S, T](stock: => MLReader[S], replace: S => T) extends MLReadable[T] {
  override def read: MLReader[T] = new ReplacingReader(stock, replace)

  override def load(path: String): T = read.load(path)
}

final private class ReplacingReader[S, T](stock: MLReader[S], replace: S => T) extends MLReader[T] {
  override def load(path: String): T = replace(stock.session(sparkSession).load(path))
}
