package org.apache.spark.ml.accel

import org.apache.spark.ml.clustering.{KMeans => StockKMeans, KMeansModel}
import org.apache.spark.ml.param.ParamMap
import org.apache.spark.ml.util.{Identifiable, MLWriter}
import org.apache.spark.sql.Dataset

/** Stock KMeans, which counts its fits. What it saves is a stock KMeans. */
class KMeans(override val uid: String) extends StockKMeans(uid) {
  def this() = this(Identifiable.randomUID("kmeans"))

  setDefault(seed, classOf[StockKMeans].getName.hashCode.toLong) // Spark takes the name of the class, which is ours

  override def fit(dataset: Dataset[_]): KMeansModel = {
    FitCounters.accelerated("KMeans")
    super.fit(dataset)
  }

  override def write: MLWriter = copyValues(new StockKMeans(uid), ParamMap.empty).write
}
