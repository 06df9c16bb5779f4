package org.apache.spark.ml.accel

import scala.annotation.tailrec

import org.apache.spark.sql.Dataset
import org.slf4j.LoggerFactory
import org.sparkaccel.{DaemonError, KernelFailed, RegionError, RegionLost}

/** The rows, parameters or data types are left to stock Spark.
  *
  * @param reason
  *   for a table: few words, without values
  */
final private[accel] class LeftToSpark(val reason: String, message: String) extends RuntimeException(message)

/** A fit on the device ended without a model, and `spark.accel.fallback` is `error`. */
final class NotAccelerated(message: String, cause: Throwable) extends RuntimeException(message, cause)

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

  private def tell(estimator: String, reason: String, message: String): Unit = {
    log.warn(s"Stock Spark fitted $estimator, not the device: $message")
    FitCounters.add(s"fallback.$estimator.$reason")
  }

  /** Why the device could not do it, in a word and in words, if that is what went wrong. Failures of tasks come wrapped,
    * and from executors sometimes as text only.
    */
  private def failure(error: Throwable): Option[(String, String)] =
    causes(error).collectFirst { case OwnFailure(found) => found }.orElse {
      val lines = Option(error.getMessage).getOrElse("").linesIterator.toSeq
      Kinds.collectFirst(Function.unlift { case (kind, reason) =>
        lines.find(_.contains(s"${kind.getName}: ")).map(line => reason -> line.split(s"${kind.getName}: ", 2)(1))
      })
    }

  private val Kinds: Seq[(Class[_ <: Throwable], String)] = Seq(
    classOf[DaemonError] -> "no daemon",
    classOf[KernelFailed] -> "a kernel failed",
    classOf[RegionError] -> "no room for regions",
    classOf[RegionLost] -> "daemons keep ending"
  )

  private object OwnFailure {
    def unapply(error: Throwable): Option[(String, String)] =
      Kinds.collectFirst { case (kind, reason) if kind.isInstance(error) => reason -> error.getMessage }
  }

  private def causes(error: Throwable): List[Throwable] = {
    @tailrec
    def add(next: Throwable, found: List[Throwable]): List[Throwable] =
      if (next == null || found.contains(next)) found.reverse else add(next.getCause, next :: found)
    add(error, Nil)
  }
}
