package org.apache.spark.ml.accel

import org.apache.spark.ml.clustering.{AccelKMeans => Internal, KMeans => StockKMeans, KMeansModel}
import org.apache.spark.ml.linalg.{Vector, Vectors}
import org.apache.spark.ml.param.ParamMap
import org.apache.spark.ml.util.{Identifiable, MLWriter}
import org.apache.spark.mllib.clustering.{AccelKMeans => OldInternal, DistanceMeasure, KMeans => OldKMeans}
import org.apache.spark.sql.Dataset

/** Spark's KMeans with its distances and sums on the accelerator of each node. All parameters, the model and its summary
  * are stock Spark's; so is `fit` itself where the device can't do it. With the same seed on the same partitions the
  * initial centres are stock's.
  */
class KMeans(override val uid: String) extends StockKMeans(uid) with TakesOver {
  def this() = this(Identifiable.randomUID("kmeans"))

  setDefault(seed, classOf[StockKMeans].getName.hashCode.toLong) // else that of our own class' name

  override def fit(dataset: Dataset[_]): KMeansModel =
    Accelerated.fit(this, dataset, super.fit(dataset))(fitOnDevice(dataset, _))

  override def copy(extra: ParamMap): KMeans = defaultCopy(extra)

  /** Saves what stock Spark loads. */
  override def write: MLWriter = copyValues(new StockKMeans(uid)).write

  private def fitOnDevice(dataset: Dataset[_], fit: FitContext): KMeansModel = {
    transformSchema(dataset.schema, logging = true)
    val cosine = $(distanceMeasure) == DistanceMeasure.COSINE
    val (input, rows) = Rows.rdd(dataset, $(featuresCol), None, get(weightCol))
    val packing = Packing(fit.settings.mlFloat64, normalized = cosine, labels = false)
    Fitting(this, input, rows, packing, fit) { (data, facts, log) =>
      log.logParams(
        this,
        featuresCol,
        predictionCol,
        k,
        initMode,
        initSteps,
        distanceMeasure,
        maxIter,
        seed,
        tol,
        weightCol
      )
      val first = new KMeansInitialisation(data, facts, $(k), $(seed), input, rows, cosine)
      val initial = if ($(initMode) == OldKMeans.RANDOM) first.random() else first.parallel($(initSteps))
      val start = if (cosine && stockTakesBlocks(rows, facts)) initial.map(UnitLength(_)) else initial
      val (centres, cost, iterations) = iterate(start, new Lloyd(data, facts), cosine)
      val parent = OldInternal.model(centres, $(distanceMeasure), cost, iterations)
      val model = copyValues(new KMeansModel(uid, parent).setParent(this))
      Internal.summarize(model, model.transform(dataset), iterations, cost)
    }
  }

  /** Lloyd's algorithm: centres, the cost before their last move, and how many moves there were. A centre without rows
    * stays where it is.
    */
  private def iterate(initial: Array[Vector], lloyd: Lloyd, cosine: Boolean): (Array[Vector], Double, Int) = {
    val centres = initial.clone()
    var (cost, iteration, converged) = (0.0, 0, false)
    while (iteration < $(maxIter) && !converged) {
      // Between vectors of length 1 half the squared distance is 1 minus the cosine.
      val step = lloyd.step(if (cosine) centres.map(UnitLength(_)) else centres)
      converged = true
      for (cluster <- centres.indices if step.weightSums(cluster) > 0) {
        val mean = if (cosine) UnitLength(step.mean(cluster)) else step.mean(cluster)
        converged &&= OldInternal.converged($(distanceMeasure), centres(cluster), mean, $(tol))
        centres(cluster) = mean
      }
      cost = if (cosine) step.cost / 2 else step.cost
      iteration += 1
    }
    (centres, cost, iteration)
  }

  /** Whether stock would solve this by blocks, which has it scale initial centres to length 1 for the cosine distance. It
    * shows in a centre that never gets a row. Stock's `auto` takes blocks for arrays, and for vectors with more features
    * than there are rows: it adds up indices where it means to count elements.
    */
  private def stockTakesBlocks(rows: Rows, facts: DataFacts): Boolean = $(solver) match {
    case "row"   => false
    case "block" => true
    case _       => !rows.vectors || facts.features > facts.rows
  }
}

object KMeans
    extends ReplacingReadable[StockKMeans, KMeans](StockKMeans.read, one => new KMeans(one.uid).takeOver(one)) {
  override def load(path: String): KMeans = super.load(path) // for Java, which sees no type in the static method else
}

/** A point scaled to length 1, in memory of its own: Spark's own method changes its argument. */
private[accel] object UnitLength {
  def apply(point: Vector): Vector = Vectors.normalize(point.copy, 2)
}
