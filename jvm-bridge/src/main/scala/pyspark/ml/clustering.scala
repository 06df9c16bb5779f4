package pyspark.ml.clustering

import org.apache.spark.ml.accel.{KMeans => AcceleratedKMeans, PySparkStages, ReplacingReadable, TakesOver}
import org.apache.spark.ml.clustering.{KMeans => StockKMeans}
import org.apache.spark.ml.util.Identifiable

/** What PySpark's `KMeans` makes and loads where the plugin is on. */
class KMeans(override val uid: String) extends AcceleratedKMeans(uid) with TakesOver {
  def this() = this(Identifiable.randomUID("kmeans"))
}

object KMeans extends ReplacingReadable[StockKMeans](StockKMeans.read, PySparkStages.replace[StockKMeans])
