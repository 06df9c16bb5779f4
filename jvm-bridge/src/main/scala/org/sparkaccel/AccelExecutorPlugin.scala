package org.sparkaccel

import java.net.InetAddress
import java.util.{Map => JavaMap}

import scala.jdk.CollectionConverters._
import scala.util.Try

import org.apache.spark.api.plugin.{ExecutorPlugin, PluginContext}
import org.slf4j.LoggerFactory

/** An executor's part: keeps a lease on the node's daemon for the executor's life, starting the daemon if none answers,
  * and tells the driver what the daemon does. Tasks find the daemon by its socket; without one they start it
  * themselves.
  */
final class AccelExecutorPlugin extends ExecutorPlugin {
  private val log = LoggerFactory.getLogger(classOf[AccelExecutorPlugin])
  @volatile private var lease: Option[NodeLease] = None

  /** Never throws: a cluster would replace the executor by the next one, without end. */
  override def init(ctx: PluginContext, extraConf: JavaMap[String, String]): Unit =
    try {
      val settings = Settings.resolve(extraConf.asScala.toMap, sys.env)
      val python = settings.daemonPython.getOrElse(extraConf.getOrDefault(AccelDriverPlugin.Python, "python3"))
      if (settings.enabled) lease = Some(keepLease(ctx, settings, python))
    } catch {
      case error: Throwable =>
        log.warn("spark-accel is off in this executor; set spark.accel.enabled=false if that is wanted", error)
    }

  override def shutdown(): Unit = {
    lease.foreach(_.close())
    NodeDaemon.closeAll()
  }

  private def keepLease(ctx: PluginContext, settings: Settings, python: String): NodeLease = {
    val tally = new Tally
    // In local mode the driver's metrics have the same names, and the same values.
    if (ctx.executorID != "driver")
      Metrics.register(ctx.metricRegistry, () => Counts.sum(tally.spans.values.map(_.done)))
    def application = ctx.conf.get("spark.app.id", "a local application") // not yet known there
    def observe(client: DaemonClient): Unit = {
      tally.read(client.daemon, client.statistics())
      ctx.send(Report.message(node, tally.spans))
    }
    new NodeLease(settings, s"executor ${ctx.executorID} of $application", python, observe)
  }

  // Not the name that Spark has for it: on an executor PluginContext.hostname throws.
  private lazy val node = Try(InetAddress.getLocalHost.getHostName).getOrElse("a node without a name")
}
