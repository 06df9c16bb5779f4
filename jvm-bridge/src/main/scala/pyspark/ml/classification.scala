package pyspark.ml.classification

import org.apache.spark.ml.accel.{
  LogisticRegression => AcceleratedLogisticRegression,
  NaiveBayes => AcceleratedNaiveBayes,
  PySparkStages,
  ReplacingReadable
}
import org.apache.spark.ml.classification.{
  LogisticRegression => StockLogisticRegression,
  NaiveBayes => StockNaiveBayes,
  OneVsRest => StockOneVsRest
}
import org.apache.spark.ml.util.Identifiable

/** What PySpark's `LogisticRegression` makes and loads where the plugin is on. */
class LogisticRegression(override val uid: String) extends AcceleratedLogisticRegression(uid) {
  def this() = this(Identifiable.randomUID("logreg"))
}

object LogisticRegression
    extends ReplacingReadable[StockLogisticRegression, LogisticRegression](
      StockLogisticRegression.read,
      one => new LogisticRegression(one.uid).takeOver(one)
    )

/** What PySpark's `NaiveBayes` makes and loads where the plugin is on. */
class NaiveBayes(override val uid: String) extends AcceleratedNaiveBayes(uid) {
  def this() = this(Identifiable.randomUID("nb"))
}

object NaiveBayes
    extends ReplacingReadable[StockNaiveBayes, NaiveBayes](
      StockNaiveBayes.read,
      one => new NaiveBayes(one.uid).takeOver(one)
    )

/** What PySpark 4.0 loads a `OneVsRest` with. */
object OneVsRest
    extends ReplacingReadable[StockOneVsRest, StockOneVsRest](
      StockOneVsRest.read,
      PySparkStages.replace[StockOneVsRest]
    )
