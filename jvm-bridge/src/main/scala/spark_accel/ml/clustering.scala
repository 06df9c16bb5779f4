package spark_accel.ml.clustering

import org.apache.spark.ml.accel.{KMeans => AcceleratedKMeans, ReplacingReadable, TakesOver}
import org.apache.spark.ml.clustering.{KMeans => StockKMeans}
import org.apache.spark.ml.util.Identifiable

/** What the Python class of this name makes and loads; PySpark finds one by the name of the other. */
class KMeans(override val uid: String) extends AcceleratedKMeans(uid) with TakesOver {
  def this() = this(Identifiable.randomUID("kmeans"))
}

object KMeans extends ReplacingReadable[StockKMeans](StockKMeans.read, one => new KMeans(one.uid).takeOver(one))
