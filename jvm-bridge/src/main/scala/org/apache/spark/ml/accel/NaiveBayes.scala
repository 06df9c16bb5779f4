package org.apache.spark.ml.accel

import org.apache.spark.ml.classification.{NaiveBayes => StockNaiveBayes, NaiveBayesModel}
import org.apache.spark.ml.linalg.{DenseMatrix, Matrices, Matrix, Vectors}
import org.apache.spark.ml.param.ParamMap
import org.apache.spark.ml.util.{Identifiable, MLWriter}
import org.apache.spark.sql.Dataset

/** Spark's NaiveBayes with the sums by class computed on the accelerator of each node. All four model types and all
  * parameters; the model is stock Spark's, and so is training itself where the device can't do it.
  */
class NaiveBayes(override val uid: String) extends StockNaiveBayes(uid) with TakesOver {
  import NaiveBayesTypes._

  def this() = this(Identifiable.randomUID("nb"))

  override protected def train(dataset: Dataset[_]): NaiveBayesModel =
    Accelerated.fit(this, dataset, super.train(dataset))(trainOnDevice(dataset, _))

  override def copy(extra: ParamMap): NaiveBayes = defaultCopy(extra)

  /** Saves what stock Spark loads. */
  override def write: MLWriter = copyValues(new StockNaiveBayes(uid)).write

  private def trainOnDevice(dataset: Dataset[_], fit: FitContext): NaiveBayesModel = {
    val gaussian = $(modelType) == Gaussian
    val values = $(modelType) match {
      case Gaussian  => Packing.Finite
      case Bernoulli => Packing.ZeroOne
      case _         => Packing.NonNegative
    }
    // Sums of counts lose nothing without a shift, and stay exactly zero where no row has the feature.
    val packing = Packing(fit.settings.mlFloat64, shifted = gaussian, values = values)
    val (input, rows) = Rows.rdd(dataset, $(featuresCol), Some($(labelCol)), get(weightCol))
    Fitting(this, input, rows, packing, fit) { (data, facts, log) =>
      if (get(thresholds).exists(_.length < facts.labels.size))
        throw new LeftToSpark(Fallback.Rows, "there are labels beyond the thresholds")
      for (label <- 0 until facts.labels.size if facts.labels.count(label) > 0 && facts.labels.weight(label) == 0)
        throw new LeftToSpark(Fallback.Rows, s"only rows of weight 0 have label $label")
      log.logParams(
        this,
        labelCol,
        featuresCol,
        weightCol,
        predictionCol,
        rawPredictionCol,
        probabilityCol,
        modelType,
        smoothing,
        thresholds
      )
      val sums = new ClassSums(data, facts, squares = gaussian)
      log.logNumClasses(sums.labels.length)
      if (gaussian) gaussianModel(sums) else discreteModel(sums)
    }
  }

  /** Logarithms of smoothed shares (Manning, Raghavan, Schütze 2008, 13.2 and 13.3; the complement: Rennie et al. 2003). */
  private def discreteModel(sums: ClassSums): NaiveBayesModel = {
    val lambda = $(smoothing)
    val features = sums.features
    val total = Array.tabulate(features)(j => sums.labels.indices.map(sums.sum(_, j)).sum)
    val theta = sums.labels.indices.toArray.flatMap { c =>
      val counts = Array.tabulate(features) { j =>
        if ($(modelType) == Complement) total(j) - sums.sum(c, j) else sums.sum(c, j)
      }
      val denominator = math.log(
        if ($(modelType) == Bernoulli) sums.weight(c) + 2 * lambda else counts.sum + features * lambda
      )
      val logs = counts.map(count => math.log(count + lambda) - denominator)
      if ($(modelType) == Complement) logs.map(-_) else logs
    }
    val denominator = math.log(sums.weights.sum + sums.labels.length * lambda)
    val pi = sums.weights.map(weight => math.log(weight + lambda) - denominator)
    model(pi, matrix(sums, theta).compressed, Matrices.zeros(0, 0))
  }

  /** Means and variances by class; each variance is raised by a 10^-9^th of the largest, as in stock Spark. */
  private def gaussianModel(sums: ClassSums): NaiveBayesModel = {
    val features = sums.features
    val all = sums.weights.sum
    val variance = (0 until features).map { j =>
      val mean = sums.labels.indices.map(sums.sum(_, j)).sum / all
      sums.labels.indices.map(sums.square(_, j)).sum / all - mean * mean
    }
    val epsilon = variance.max * 1e-9
    // Stock's sums leave a rest of rounding where ours are exact, and without any variance there is no model.
    if (!(epsilon > 0)) throw new LeftToSpark(Fallback.Rows, "there is no feature that varies")
    val offsets = for (c <- sums.labels.indices.toArray; j <- 0 until features) yield sums.sum(c, j) / sums.weight(c)
    val theta = offsets.indices.map(i => sums.origin(i % features) + offsets(i)).toArray
    val sigma = offsets.indices.map { i =>
      epsilon + sums.square(i / features, i % features) / sums.weight(i / features) - offsets(i) * offsets(i)
    }.toArray
    model(
      sums.weights.map(weight => math.log(weight) - math.log(all)),
      matrix(sums, theta).compressed,
      matrix(sums, sigma).compressed
    )
  }

  private def matrix(sums: ClassSums, values: Array[Double]): DenseMatrix =
    new DenseMatrix(sums.labels.length, sums.features, values, isTransposed = true)

  private def model(pi: Array[Double], theta: Matrix, sigma: Matrix): NaiveBayesModel =
    new NaiveBayesModel(uid, Vectors.dense(pi).compressed, theta, sigma)
}

object NaiveBayes
    extends ReplacingReadable[StockNaiveBayes, NaiveBayes](
      StockNaiveBayes.read,
      one => new NaiveBayes(one.uid).takeOver(one)
    ) {
  override def load(path: String): NaiveBayes =
    super.load(path) // for Java, which sees no type in the static method else
}

private object NaiveBayesTypes {
  val Gaussian = "gaussian"
  val Bernoulli = "bernoulli"
  val Complement = "complement"
}
