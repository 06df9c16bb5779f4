package org.apache.spark.ml.clustering

import org.apache.spark.sql.DataFrame

/** What is private to this package of Spark and org.apache.spark.ml.accel needs. */
private[spark] object AccelKMeans {

  /** Sets the summary of a new model, made of its predictions for the training data. */
  def summarize(model: KMeansModel, predictions: DataFrame, iterations: Int, cost: Double): KMeansModel =
    model.setSummary(
      Some(
        new KMeansSummary(predictions, model.getPredictionCol, model.getFeaturesCol, model.getK, iterations, cost)
      )
    )
}
