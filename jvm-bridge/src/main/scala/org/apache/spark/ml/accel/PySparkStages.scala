package org.apache.spark.ml.accel

import org.apache.spark.ml.classification.{LogisticRegression, NaiveBayes, OneVsRest}
import org.apache.spark.ml.clustering.KMeans
import org.apache.spark.ml.tuning.{CrossValidator, TrainValidationSplit}
import org.apache.spark.ml.{Pipeline, PipelineStage}

/** What PySpark's classes stand for, where the plugin is on: the stock classes that are replaced, and by what. */
object PySparkStages {

  /** The class that replaces each stock one. It has the name of its Python class, `pyspark.ml.clustering.KMeans`:
    * PySpark finds the Python class of what it loads by the name of the Java class.
    */
  val estimators: Map[String, String] =
    named("clustering.KMeans", "classification.LogisticRegression", "classification.NaiveBayes")

  /** Estimators of estimators, and the object that loads each with ours in it. It makes stock ones. */
  val composites: Map[String, String] =
    named("Pipeline", "classification.OneVsRest", "tuning.CrossValidator", "tuning.TrainValidationSplit")

  private def named(classes: String*): Map[String, String] =
    classes.map(name => s"org.apache.spark.ml.$name" -> s"pyspark.ml.$name").toMap

  /** `stage` with our estimators in the place of stock ones, at any depth; a composite is changed where it stands. */
  def replace[S <: PipelineStage](stage: S): S = {
    val replaced = stage match {
      case one: KMeans if stock(one)             => new pyspark.ml.clustering.KMeans(one.uid).takeOver(one)
      case one: LogisticRegression if stock(one) =>
        new pyspark.ml.classification.LogisticRegression(one.uid).takeOver(one)
      case one: NaiveBayes if stock(one) => new pyspark.ml.classification.NaiveBayes(one.uid).takeOver(one)
      case all: Pipeline                 => all.setStages(all.getStages.map(replace(_)))
      case all: OneVsRest                => all.setClassifier(replace(all.getClassifier))
      case all: CrossValidator           => all.setEstimator(replace(all.getEstimator))
      case all: TrainValidationSplit     => all.setEstimator(replace(all.getEstimator))
      case other                         => other
    }
    replaced.asInstanceOf[S]
  }

  private def stock(stage: PipelineStage): Boolean = estimators.contains(stage.getClass.getName)
}
