package org.apache.spark.ml.accel

import org.apache.spark.SparkContext
import org.apache.spark.internal.config.Kryo
import org.apache.spark.ml.Estimator
import org.apache.spark.ml.util.Instrumentation
import org.apache.spark.rdd.RDD
import org.apache.spark.serializer.KryoSerializer
import org.apache.spark.sql.catalyst.InternalRow

/** Runs a fit over packed rows and lets go of them, however it ends. */
private[accel] object Fitting {

  /** Packs `input` and hands it to `work`. Rows whose values float32 can't hold well are packed once more: about their
    * mean, which is known then, or as float64.
    *
    * @throws LeftToSpark
    *   if there are no rows, or rows that stock Spark has something to say about
    */
  def apply[M](estimator: Estimator[_], input: RDD[InternalRow], rows: Rows, packing: Packing, fit: FitContext)(
      work: (PackedDataset, DataFacts, Instrumentation) => M
  ): M = {
    def logged(facts: DataFacts)(data: PackedDataset): M = Instrumentation.instrumented { log =>
      log.logPipelineStage(estimator)
      log.logDataset(input)
      log.logNumFeatures(facts.features)
      log.logNumExamples(facts.rows)
      log.logSumOfWeights(facts.weightSum)
      work(data, facts, log)
    }
    if (registeredOnly(input.sparkContext))
      throw new LeftToSpark(Fallback.Kryo, "spark.kryo.registrationRequired is true")
    val times = new FitTimes(input.sparkContext)
    try {
      val (first, facts) = PackedDataset.pack(input, rows, packing, fit, times)
      val better =
        try adapted(packing, facts)
        catch { case error: Throwable => first.close(); throw error }
      better match {
        case None        => using(first)(logged(facts))
        case Some(again) =>
          first.close()
          val (second, itsFacts) = PackedDataset.pack(input, rows, again, fit, times)
          using(second)(logged(itsFacts))
      }
    } finally times.count(Accelerated.name(estimator))
  }

  private def registeredOnly(context: SparkContext): Boolean =
    context.env.serializer.isInstanceOf[KryoSerializer] && context.conf.get(Kryo.KRYO_REGISTRATION_REQUIRED)

  private def adapted(packing: Packing, facts: DataFacts): Option[Packing] = {
    facts.refused.foreach(throw _)
    if (facts.rows == 0) throw new LeftToSpark(Fallback.Rows, "there are no rows")
    if (facts.weightSum == 0) throw new LeftToSpark(Fallback.Rows, "all weights are 0")
    if (!facts.summable)
      throw new LeftToSpark(Fallback.Rows, "there are values or weights too large or small to be summed")
    val drifts = packing.shifted && !facts.shiftsAreGood
    val wide = !packing.float64 && !facts.fitsFloat32
    Option.when(drifts || wide) {
      packing.copy(float64 = packing.float64 || wide, shift = if (drifts) Some(facts.mean) else None)
    }
  }

  private def using[M](data: PackedDataset)(work: PackedDataset => M): M =
    try work(data)
    finally data.close()
}
