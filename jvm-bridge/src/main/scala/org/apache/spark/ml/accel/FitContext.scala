package org.apache.spark.ml.accel

import java.nio.file.{Files, Path}
import java.util.concurrent.ConcurrentHashMap

import org.apache.spark.SparkEnv
import org.apache.spark.sql.SparkSession
import org.sparkaccel.{AccelDriverPlugin, NodeDaemon, RegionWriter, Settings}

/** What a task of a fit needs to find its node's daemon: the driver's settings, which hold on all nodes. */
final private[accel] class FitContext private (configuration: Map[String, String], python: String)
    extends Serializable {
  @transient lazy val settings: Settings = Settings.resolve(configuration, sys.env)

  /** Starts a region at the daemon of this node, which is started if none runs. Throws [[org.sparkaccel.DaemonError]]. */
  def newRegion(): RegionWriter =
    new RegionWriter(NodeDaemon.of(settings, python, Some(FitContext.disk)).client(), settings.memoryLimit)
}

object FitContext {

  /** Of a session, whose own settings go before those of its context. */
  private[accel] def apply(session: SparkSession): FitContext = {
    val all = session.sparkContext.getConf.getAll.toMap ++ session.conf.getAll
    val settings = Settings.resolve(all, sys.env)
    new FitContext(settings.spark, AccelDriverPlugin.python(settings, all, sys.env))
  }

  private val disks = new ConcurrentHashMap[Path, Path]

  /** Where this process may leave what memory has no room for: in Spark's own folder for that, with which it is deleted,
    * one that nobody else may write to, whatever the umask.
    */
  def disk: Path = disks.computeIfAbsent(
    SparkEnv.get.blockManager.diskBlockManager.localDirs.head.toPath,
    Files.createTempDirectory(_, "spark-accel-")
  )
}
