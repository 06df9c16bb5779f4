package org.apache.spark.ml.accel

import org.apache.spark.ml.classification.{NaiveBayes => StockNaiveBayes, NaiveBayesModel}
import org.apache.spark.ml.param.ParamMap
import org.apache.spark.ml.util.{Identifiable, MLWriter}
import org.apache.spark.sql.Dataset

/** Stock NaiveBayes, which counts its fits. What it saves is a stock NaiveBayes. */
class NaiveBayes(override val uid: String) extends StockNaiveBayes(uid) {
  def this() = this(Identifiable.randomUID("nb"))

  override protected def train(dataset: Dataset[_]): NaiveBayesModel = {
    FitCounters.accelerated("NaiveBayes")
    super.train(dataset)
  }

  override def write: MLWriter = copyValues(new StockNaiveBayes(uid), ParamMap.empty).write
}
