package org.sparkaccel

import java.util.Optional

import org.apache.spark.SparkEnv
import org.apache.spark.ml.accel.PySparkStages
import org.apache.spark.sql.connect.plugin.MLBackendPlugin

/** Leads Spark Connect from the stock estimators to ours: one of `spark.connect.ml.backend.classes`. The driver plugin
  * lists it there, and `spark_accel.configure` where Connect runs in the program's own process, without plugins.
  */
final class ConnectBackend extends MLBackendPlugin {

  /** Spark asks for each operator it makes or loads, with an object of its own each time. Throws
    * [[ConfigurationError]] for a wrong configuration: where there are no plugins, nobody has looked at it before.
    */
  override def transform(name: String): Optional[String] =
    PySparkStages.estimators.get(name) match {
      case Some(ours) if Settings.resolve(SparkEnv.get.conf.getAll.toMap, sys.env).enabled => Optional.of(ours)
      case _                                                                               => Optional.empty()
    }
}

object ConnectBackend {
  val Key = "spark.connect.ml.backend.classes"
  private val Name = "org.sparkaccel.ConnectBackend" // no `classOf`: a Spark without Connect can't load it

  /** The list of backends `present` with this one in it, last: what the user has goes first. */
  def addedTo(present: String): String = {
    val backends = present.split(",").map(_.trim).filter(_.nonEmpty).toSeq
    (backends :+ Name).distinct.mkString(",")
  }
}
