package org.sparkaccel

import java.nio.file.{Files, Path}
import java.util.Comparator
import java.util.concurrent.CompletableFuture

import scala.jdk.OptionConverters._
import scala.sys.process._

/** Runs a test with settings for a daemon of its own, in a folder of its own; both are gone afterwards. */
object RealDaemon {
  val Python: String = sys.props("org.sparkaccel.tests.python")

  def withSettings[T](extra: (String, String)*)(test: Settings => T): T = {
    val folder = Files.createTempDirectory("accel-")
    val own = Seq(
      "daemon.socket" -> folder.resolve("daemon.sock").toString,
      "repository" -> folder.resolve("repository").toString,
      "device" -> "reference"
    )
    val all = (own ++ extra).map { case (key, text) => Settings.SparkPrefix + key -> text }
    val settings = Settings.resolve(all.toMap, Map.empty)
    try test(settings)
    finally {
      process(settings).foreach { daemon =>
        daemon.destroy()
        Wait.until("the daemon ends")(!runs(daemon))
      }
      Files.walk(folder).sorted(Comparator.reverseOrder[Path]).forEach(file => Files.delete(file))
    }
  }

  def start(settings: Settings): Unit = DaemonProcess.start(settings, Python, new CompletableFuture)

  /** What the command line says of the daemon, as JSON. */
  def status(settings: Settings): String =
    Seq(Python, "-m", "spark_accel", "status", "--json", "--socket", settings.daemonSocket.toString).!!

  /** The daemon that runs, by the file in which it leaves its process id. */
  def process(settings: Settings): Option[ProcessHandle] = {
    val file = settings.daemonSocket.resolveSibling("daemon.sock.pid")
    val pid = if (Files.exists(file)) Files.readString(file).trim.toLongOption else None
    pid.flatMap(ProcessHandle.of(_).toScala).filter(runs)
  }

  /** Not if it has ended and its parent, init, has not asked how, which takes some a second: then it has no command. */
  private def runs(process: ProcessHandle): Boolean = process.info.command.isPresent
}
