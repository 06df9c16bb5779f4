package pyspark.ml.classification

import org.apache.spark.ml.accel.{
  LogisticRegression => AcceleratedLogisticRegression,
  NaiveBayes => AcceleratedNaiveBayes,
  PySparkStages,
  ReplacingReadable,
  TakesOver
}
import org.apache.spark.ml.classification.{
  LogisticRegression => StockLogisticRegression,
  NaiveBayes => StockNaiveBayes,
  OneVsRest => StockOneVsRest
}
import org.apache.spark.ml.util.Identifiable

/** What PySpark's `LogisticRegression` makes and loads where the plugin is on. */
class LogisticRegression(override val uid: String) extends AcceleratedLogisticRegression(uid) with TakesOver {
  def this() = this(Identifiable.randomUID("logreg"))
}

object LogisticRegression
    extends ReplacingReadable[StockLogisticRegression](
      StockLogisticRegression.read,
      PySparkStages.replace[StockLogisticRegression]
    )

/** What PySpark's `NaiveBayes` makes and loads where the plugin is on. */
class NaiveBayes(override val uid: String) extends AcceleratedNaiveBayes(uid) with TakesOver {
  def this() = this(Identifiable.randomUID("nb"))
}

object NaiveBayes
    extends ReplacingReadable[StockNaiveBayes](StockNaiveBayes.read, PySparkStages.replace[StockNaiveBayes])

/** What PySpark 4.0 loads a `OneVsRest` with. */
object OneVsRest extends ReplacingReadable[StockOneVsRest](StockOneVsRest.read, PySparkStages.replace[StockOneVsRest])
