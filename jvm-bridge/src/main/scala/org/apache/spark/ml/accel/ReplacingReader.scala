package org.apache.spark.ml.accel

import org.apache.spark.ml.util.{MLReadable, MLReader}

/** The companion of a class that stands in for a stock one: what it loads is what `stock` reads, with our estimators in
  * the place of stock ones.
  *
  * Python and Spark Connect call `read` and `load` as static methods of the class, so both are defined here.
  */
abstract class ReplacingReadable[S](stock: => MLReader[S], replace: S => S) extends MLReadable[S] {
  override def read: MLReader[S] = new ReplacingReader(stock, replace)

  override def load(path: String): S = read.load(path)
}

private final class ReplacingReader[S](stock: MLReader[S], replace: S => S) extends MLReader[S] {
  override def load(path: String): S = replace(stock.session(sparkSession).load(path))
}
