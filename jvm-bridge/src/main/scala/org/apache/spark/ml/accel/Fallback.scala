package org.apache.spark.ml.accel

import org.sparkaccel.{DaemonError, KernelFailed, RegionError, RegionLost}

/** Why stock Spark fits where the device was meant to: the part of the counter `fallback.ESTIMATOR.KEY`, and what it
  * means. `docs/estimators.md` has this table; a test holds it against this one.
  */
sealed abstract private[accel] class Fallback(val key: String, val meaning: String)

private[accel] object Fallback {
  case object Rows
      extends Fallback(
        "rows",
        "No rows, no weights above 0, or rows that stock Spark refuses in its own words: null, NaN or infinity, a negative " +
          "weight, a label that is no class, a feature that the model type does not allow, vectors of different lengths; values or " +
          "weights whose sums, or sums of squares, are beyond 1e280 or below 1e-280; for Gaussian naive Bayes, no feature that " +
          "varies"
      )
  case object Classes extends Fallback("classes", s"Labels from ${Packing.MostClasses} on")
  case object Version
      extends Fallback(
        "version",
        "A version of Spark other than 4.0 to 4.3 that lacks what training on the device shares with it"
      )
  case object Kryo
      extends Fallback(
        "kryo",
        "`spark.kryo.registrationRequired` is true, and the results of our tasks are of classes that nobody has registered"
      )
  case object Daemon extends Fallback("daemon", "The node daemon can't be started or reached, or keeps ending")
  case object Kernel
      extends Fallback("kernel", "The daemon has no device for the kernel, or the device no memory for it")
  case object Room extends Fallback("room", "Neither shared memory nor disk has room for the packed rows")

  val All: Seq[Fallback] = Seq(Rows, Classes, Version, Kryo, Daemon, Kernel, Room)

  /** What each failure of ours, in a task, is a reason for. */
  val Failures: Seq[(Class[_ <: Throwable], Fallback)] = Seq(
    classOf[DaemonError] -> Daemon,
    classOf[RegionLost] -> Daemon,
    classOf[KernelFailed] -> Kernel,
    classOf[RegionError] -> Room
  )
}

/** What is fitted is left to stock Spark. */
final private[accel] class LeftToSpark(val reason: Fallback, message: String) extends RuntimeException(message)

/** A fit on the device ended without a model, and `spark.accel.fallback` is `error`. */
final class NotAccelerated(message: String, cause: Throwable) extends RuntimeException(message, cause)
