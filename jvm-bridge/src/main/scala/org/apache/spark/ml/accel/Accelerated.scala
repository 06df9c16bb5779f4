package org.apache.spark.ml.accel

import scala.annotation.tailrec

import org.apache.spark.sql.Dataset
import org.slf4j.LoggerFactory

/** Decides between a fit on the device and stock Spark's, and says so: one WARN and a counter whenever stock code runs
  * where ours was meant to, or an error where the user prefers that.
  */
private[accel] object Accelerated {
  private val log = LoggerFactory.getLogger(getClass)

  /** The model of `device`, or of `stock` where the device can't make it.
    *
    * @throws NotAccelerated
    *   if stock Spark could do what the device can't and `spark.accel.fallback` is `error`
    */
  def fit[M](estimator: String, dataset: Dataset[_], stock: => M)(device: FitContext => M): M = {
    val fit = FitContext(dataset.sparkSession)
    if (!fit.settings.enabled) stock
    else
      try {
        val model = device(fit)
        FitCounters.add(s"accelerated.$estimator")
        model
      } catch {
        case left: LeftToSpark =>
          // Most often stock Spark refuses such rows, in its own words.
          val model = stock
          if (fit.settings.fallbackIsError) throw refusal(estimator, left.getMessage, left)
          tell(estimator, left.reason, left.getMessage)
          model
        case error: Exception if failure(error).isDefined =>
          val (reason, message) = failure(error).get
          if (fit.settings.fallbackIsError) throw refusal(estimator, message, error)
          tell(estimator, reason, message)
          stock
      }
  }

  private def refusal(estimator: String, message: String, cause: Throwable): NotAccelerated =
    new NotAccelerated(
      s"$estimator was not fitted on the device: $message; with spark.accel.fallback=cpu stock Spark would do it",
      cause
    )

  private def tell(estimator: String, reason: Fallback, message: String): Unit = {
    log.warn(s"Stock Spark fitted $estimator, not the device: $message")
    FitCounters.add(s"fallback.$estimator.${reason.key}")
  }

  /** Why the device could not do it, and in words, if that is what went wrong. Failures of tasks come wrapped, and from
    * executors sometimes as text only.
    */
  private[accel] def failure(error: Throwable): Option[(Fallback, String)] = {
    val found =
      for (cause <- causes(error); (kind, reason) <- Fallback.Failures if kind.isInstance(cause))
        yield reason -> cause.getMessage
    found.headOption.orElse {
      val lines = Option(error.getMessage).getOrElse("").linesIterator.toSeq
      val told =
        for ((kind, reason) <- Fallback.Failures; line <- lines if line.contains(s"${kind.getName}: "))
          yield reason -> line.split(s"${kind.getName}: ", 2)(1)
      told.headOption
    }
  }

  private def causes(error: Throwable): List[Throwable] = {
    @tailrec
    def add(next: Throwable, found: List[Throwable]): List[Throwable] =
      if (next == null || found.contains(next)) found.reverse else add(next.getCause, next :: found)
    add(error, Nil)
  }
}
