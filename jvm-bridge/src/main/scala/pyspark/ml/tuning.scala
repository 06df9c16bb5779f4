package pyspark.ml.tuning

import org.apache.spark.ml.accel.{PySparkStages, ReplacingReadable}
import org.apache.spark.ml.tuning.{CrossValidator => StockCrossValidator, TrainValidationSplit => StockSplit}

/** What PySpark 4.0 loads a `CrossValidator` with. */
object CrossValidator
    extends ReplacingReadable[StockCrossValidator, StockCrossValidator](
      StockCrossValidator.read,
      PySparkStages.replace[StockCrossValidator]
    )

/** What PySpark 4.0 loads a `TrainValidationSplit` with. */
object TrainValidationSplit
    extends ReplacingReadable[StockSplit, StockSplit](StockSplit.read, PySparkStages.replace[StockSplit])
