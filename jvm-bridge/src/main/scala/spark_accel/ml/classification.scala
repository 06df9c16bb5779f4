package spark_accel.ml.classification

import org.apache.spark.ml.accel.{
  LogisticRegression => AcceleratedLogisticRegression,
  NaiveBayes => AcceleratedNaiveBayes,
  ReplacingReadable
}
import org.apache.spark.ml.classification.{LogisticRegression => StockLogisticRegression, NaiveBayes => StockNaiveBayes}
import org.apache.spark.ml.util.Identifiable

/** What the Python class of this name makes and loads; PySpark finds one by the name of the other. */
class LogisticRegression(override val uid: String) extends AcceleratedLogisticRegression(uid) {
  def this() = this(Identifiable.randomUID("logreg"))
}

object LogisticRegression
    extends ReplacingReadable[StockLogisticRegression, LogisticRegression](
      StockLogisticRegression.read,
      one => new LogisticRegression(one.uid).takeOver(one)
    )

/** What the Python class of this name makes and loads; PySpark finds one by the name of the other. */
class NaiveBayes(override val uid: String) extends AcceleratedNaiveBayes(uid) {
  def this() = this(Identifiable.randomUID("nb"))
}

object NaiveBayes
    extends ReplacingReadable[StockNaiveBayes, NaiveBayes](
      StockNaiveBayes.read,
      one => new NaiveBayes(one.uid).takeOver(one)
    )
