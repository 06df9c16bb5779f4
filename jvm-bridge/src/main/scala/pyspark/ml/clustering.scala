package pyspark.ml.clustering

import org.apache.spark.ml.accel.{KMeans => AcceleratedKMeans, ReplacingReadable}
import org.apache.spark.ml.clustering.{KMeans => StockKMeans}
import org.apache.spark.ml.util.Identifiable

/** What PySpark's `KMeans` makes and loads where the plugin is on. */
class KMeans(override val uid: String) extends AcceleratedKMeans(uid) {
  def this() = this(Identifiable.randomUID("kmeans"))
}

object KMeans extends ReplacingReadable[StockKMeans, KMeans](StockKMeans.read, one => new KMeans(one.uid).takeOver(one))
