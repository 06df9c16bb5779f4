package org.sparkaccel

import java.util.{Map => JavaMap}

import scala.jdk.CollectionConverters._
import scala.util.control.NonFatal

import org.apache.spark.{SPARK_VERSION, SparkContext}
import org.apache.spark.api.plugin.{DriverPlugin, PluginContext}
import org.slf4j.LoggerFactory

/** The driver's part: refuses a wrong configuration before any task runs, leads PySpark and Spark Connect to our
  * estimators, tells the executors the settings, and shows the metrics `requests`, `images` and `secondsWaited`, summed
  * over the nodes' daemons since this application came to them.
  */
final class AccelDriverPlugin extends DriverPlugin {
  import AccelDriverPlugin._

  private val heard = new DriverTotal
  private val log = LoggerFactory.getLogger(classOf[AccelDriverPlugin])
  private var enabled = false
  private var mapping: Option[AutoCloseable] = None

  /** Throws [[ConfigurationError]] if a setting is unknown or can't be read, which ends the start of Spark. */
  override def init(context: SparkContext, ctx: PluginContext): JavaMap[String, String] = {
    val configuration = ctx.conf.getAll.toMap
    val settings = Settings.resolve(configuration, sys.env)
    enabled = settings.enabled
    if (enabled) leadToOurEstimators(ctx)
    (settings.spark + (Python -> python(settings, configuration, sys.env))).asJava
  }

  override def registerMetrics(applicationId: String, ctx: PluginContext): Unit =
    if (enabled) Metrics.register(ctx.metricRegistry, () => heard.total)

  override def shutdown(): Unit = mapping.foreach(_.close())

  override def receive(message: AnyRef): AnyRef = {
    heard.receive(message.asInstanceOf[Report.Message])
    null
  }

  private def leadToOurEstimators(ctx: PluginContext): Unit =
    try {
      ctx.conf.set(ConnectBackend.Key, ConnectBackend.addedTo(ctx.conf.get(ConnectBackend.Key, "")))
      mapping = Some(PythonMapping.open(SPARK_VERSION))
    } catch {
      // A Spark that was put together without py4j or spark.ml, or another version of them.
      case error @ (_: LinkageError | NonFatal(_)) =>
        log.warn("PySpark's estimators run as stock Spark has them: their classes can't be mapped to ours", error)
    }
}

object AccelDriverPlugin {

  /** Under this name executors are told the Python to use: the driver's choice, as for Spark's own Python workers. */
  private[sparkaccel] val Python = "python"

  /** The Python that runs the daemon: the setting, else the one that Spark runs its Python workers with. */
  def python(
      settings: Settings,
      configuration: Map[String, String],
      environment: Map[String, String]
  ): String =
    settings.daemonPython
      .orElse(configuration.get("spark.pyspark.python"))
      .orElse(environment.get("PYSPARK_PYTHON"))
      .getOrElse("python3")
}
