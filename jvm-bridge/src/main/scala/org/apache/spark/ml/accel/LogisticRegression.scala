package org.apache.spark.ml.accel

import org.apache.spark.ml.classification.{LogisticRegression => StockLogisticRegression, LogisticRegressionModel}
import org.apache.spark.ml.param.ParamMap
import org.apache.spark.ml.util.{Identifiable, MLWriter}
import org.apache.spark.sql.Dataset

/** Stock LogisticRegression, which counts its fits. What it saves is a stock LogisticRegression. */
class LogisticRegression(override val uid: String) extends StockLogisticRegression(uid) {
  def this() = this(Identifiable.randomUID("logreg"))

  override protected[spark] def train(dataset: Dataset[_]): LogisticRegressionModel = {
    FitCounters.accelerated("LogisticRegression")
    super.train(dataset)
  }

  override def write: MLWriter = copyValues(new StockLogisticRegression(uid), ParamMap.empty).write
}
