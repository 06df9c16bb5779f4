package org.apache.spark.ml.accel

import org.apache.spark.ml.classification.{LogisticRegression => StockLogisticRegression, LogisticRegressionModel}
import org.apache.spark.ml.linalg.{DenseMatrix, SparseMatrix, Vectors}
import org.apache.spark.ml.optim.loss.L2Regularization
import org.apache.spark.ml.param.ParamMap
import org.apache.spark.ml.util.{Identifiable, Instrumentation, MetadataUtils, MLWriter}
import org.apache.spark.sql.Dataset

/** Spark's LogisticRegression with loss and gradient computed on the accelerator of each node. Optimisers, bounds,
  * regularisation, the model and its summary are stock Spark's; so is training itself where the device can't do it.
  */
class LogisticRegression(override val uid: String) extends StockLogisticRegression(uid) with TakesOver {
  def this() = this(Identifiable.randomUID("logreg"))

  override protected[spark] def train(dataset: Dataset[_]): LogisticRegressionModel =
    Accelerated.fit(this, dataset, super.train(dataset))(trainOnDevice(dataset, _))

  override def copy(extra: ParamMap): LogisticRegression = defaultCopy(extra)

  /** Saves what stock Spark loads. */
  override def write: MLWriter = copyValues(new StockLogisticRegression(uid)).write

  private def trainOnDevice(dataset: Dataset[_], fit: FitContext): LogisticRegressionModel = {
    val stock = new StockLogisticMembers(this)
    val (input, rows) = Rows.rdd(dataset, $(featuresCol), Some($(labelCol)), get(weightCol))
    Fitting(this, input, rows, Packing(fit.settings.mlFloat64), fit) { (data, facts, log) =>
      log.logParams(
        this,
        labelCol,
        weightCol,
        featuresCol,
        predictionCol,
        rawPredictionCol,
        probabilityCol,
        regParam,
        elasticNetParam,
        standardization,
        threshold,
        maxIter,
        tol,
        fitIntercept
      )
      trainPacked(dataset, data, facts, stock, log)
    }
  }

  /** Stock Spark's own steps, in its own order. */
  private def trainPacked(
      dataset: Dataset[_],
      data: PackedDataset,
      facts: DataFacts,
      stock: StockLogisticMembers,
      log: Instrumentation
  ): LogisticRegressionModel = {
    val histogram = Array.tabulate(facts.labels.size)(facts.labels.weight)
    if (histogram.last == 0) {
      throw new LeftToSpark(Fallback.Rows, s"only rows of weight 0 have label ${histogram.length - 1}")
    }
    val classes = MetadataUtils.getNumClasses(dataset.schema($(labelCol))).fold(histogram.length) { declared =>
      require(
        declared >= histogram.length,
        s"Specified number of classes $declared was less than the number of unique labels ${histogram.length}."
      )
      declared
    }
    log.logNumClasses(classes)
    val multinomial = stock.checkMultinomial(classes)
    val sets = if (multinomial) classes else 1
    if (usingBounds) stock.checkBounds(sets, facts.features)
    if (isDefined(thresholds)) {
      require(
        $(thresholds).length == classes,
        s"${getClass.getSimpleName}.train() called with non-matching numClasses and thresholds.length." +
          s" numClasses=$classes, but thresholds has length ${$(thresholds).length}"
      )
    }
    val oneLabel = histogram.count(_ != 0.0) == 1
    if ($(fitIntercept) && oneLabel && !usingBounds) {
      log.logWarning(
        "All labels are the same value and fitIntercept=true, so the coefficients will be zeros. Training is not needed."
      )
      constantModel(dataset, stock, classes, multinomial, facts.features, histogram)
    } else {
      if (! $(fitIntercept) && oneLabel) {
        log.logWarning(
          "All labels belong to a single class and fitIntercept=false. It's a dangerous ground, so the algorithm may not" +
            " converge."
        )
      }
      if (! $(fitIntercept) && (0 until facts.features).exists(j => facts.std(j) == 0 && facts.mean(j) != 0)) {
        log.logWarning(
          "Fitting LogisticRegressionModel without intercept on dataset with constant nonzero column, Spark MLlib outputs" +
            " zero coefficients for constant nonzero columns. This behavior is the same as R glmnet but different from" +
            " LIBSVM."
        )
      }
      val (lower, upper) = stock.createBounds(classes, facts.features, facts.std)
      val optimizer = stock.createOptimizer(classes, facts.features, facts.std, lower, upper)
      val initial = stock.createInitialSolution(classes, facts.features, histogram, facts.std, lower, upper, log)
      val descent =
        new LogisticDescent(data, space(facts, sets, multinomial), regularization(facts, sets), $(aggregationDepth))
      val (solution, history) = descent.minimize(optimizer, initial.toArray)
      val (coefficients, intercepts) = unscaled(solution, facts, sets, multinomial)
      data.letGo() // stock's summary runs jobs of its own
      stock.createModel(dataset, classes, coefficients.compressed, Vectors.dense(intercepts).compressed, history)
    }
  }

  private def usingBounds: Boolean = Seq(
    lowerBoundsOnCoefficients,
    upperBoundsOnCoefficients,
    lowerBoundsOnIntercepts,
    upperBoundsOnIntercepts
  ).exists(isSet(_))

  private def constantModel(
      dataset: Dataset[_],
      stock: StockLogisticMembers,
      classes: Int,
      multinomial: Boolean,
      features: Int,
      histogram: Array[Double]
  ): LogisticRegressionModel = {
    val sets = if (multinomial) classes else 1
    val zeros = new SparseMatrix(sets, features, new Array(sets + 1), Array.empty, Array.empty, isTransposed = true)
    val intercepts =
      if (multinomial) Vectors.sparse(classes, Seq(Vectors.dense(histogram).argmax -> Double.PositiveInfinity))
      else Vectors.dense(if (classes == 2) Double.PositiveInfinity else Double.NegativeInfinity)
    stock.createModel(dataset, classes, zeros.compressed, intercepts, Array(0.0))
  }

  private def space(facts: DataFacts, sets: Int, multinomial: Boolean): LogisticSpace = {
    // Centred features change nothing but the intercept, so that must be free.
    val free = (!isSet(lowerBoundsOnIntercepts) || $(lowerBoundsOnIntercepts).toArray.forall(_.isNegInfinity)) &&
      (!isSet(upperBoundsOnIntercepts) || $(upperBoundsOnIntercepts).toArray.forall(_.isPosInfinity))
    LogisticSpace(
      sets,
      facts.features,
      multinomial,
      $(fitIntercept),
      centred = $(fitIntercept) && free,
      facts.mean,
      facts.std.map(std => if (std != 0) 1 / std else 0.0),
      facts.reach,
      facts.weightSum
    )
  }

  private def regularization(facts: DataFacts, sets: Int): Option[L2Regularization] = {
    val strength = (1 - $(elasticNetParam)) * $(regParam)
    val penalized = sets * facts.features
    val std = (i: Int) => if (i >= 0 && i < penalized) facts.std(i / sets) else 0.0
    Option.when(strength != 0) {
      new L2Regularization(strength, i => i >= 0 && i < penalized, if ($(standardization)) None else Some(std))
    }
  }

  /** Coefficients and intercepts for features as they are. Where they are determined only up to a constant, they are
    * centred, as in stock Spark.
    */
  private def unscaled(solution: Array[Double], facts: DataFacts, sets: Int, multinomial: Boolean) = {
    val features = facts.features
    val coefficients = Array.tabulate(sets * features) { i =>
      val (set, j) = (i / features, i % features)
      if (facts.std(j) != 0) solution(set + j * sets) / facts.std(j) else 0.0
    }
    val intercepts = if ($(fitIntercept)) solution.drop(sets * features) else new Array[Double](sets)
    if (multinomial && !usingBounds) {
      if ($(regParam) == 0) {
        for (j <- 0 until features) {
          val centre = (0 until sets).map(set => coefficients(set * features + j)).sum / sets
          for (set <- 0 until sets) coefficients(set * features + j) -= centre
        }
      }
      val centre = intercepts.sum / sets
      for (set <- 0 until sets) intercepts(set) -= centre
    }
    (new DenseMatrix(sets, features, coefficients, isTransposed = true), intercepts)
  }
}

object LogisticRegression
    extends ReplacingReadable[StockLogisticRegression, LogisticRegression](
      StockLogisticRegression.read,
      one => new LogisticRegression(one.uid).takeOver(one)
    ) {
  override def load(path: String): LogisticRegression =
    super.load(path) // for Java, which sees no type in the static method else
}
