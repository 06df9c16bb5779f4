package pyspark.ml

import org.apache.spark.ml.accel.{PySparkStages, ReplacingReadable}
import org.apache.spark.ml.{Pipeline => StockPipeline}

/** What PySpark 4.0 loads a `Pipeline` with. */
object Pipeline
    extends ReplacingReadable[StockPipeline, StockPipeline](StockPipeline.read, PySparkStages.replace[StockPipeline])
