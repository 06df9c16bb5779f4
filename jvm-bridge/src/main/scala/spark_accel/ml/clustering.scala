package spark_accel.ml.clustering

import org.apache.spark.ml.accel.{KMeans => AcceleratedKMeans, ReplacingReadable}
import org.apache.spark.ml.clustering.{KMeans => StockKMeans}
import org.apache.spark.ml.util.Identifiable

/** What the Python class of this name makes and loads; PySpark finds one by the name of the other. */
class KMeans(override val uid: String) extends AcceleratedKMeans(uid) {
  def this() = this(Identifiable.randomUID("kmeans"))
}

object KMeans extends ReplacingReadable[StockKMeans, KMeans](StockKMeans.read, one => new KMeans(one.uid).takeOver(one))
