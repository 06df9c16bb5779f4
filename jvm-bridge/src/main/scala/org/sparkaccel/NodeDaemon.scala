package org.sparkaccel

import java.nio.file.Path
import java.util.concurrent.{CompletableFuture, ConcurrentHashMap}

import scala.annotation.tailrec

/** This process' connection to the node's daemon for its own work: made when it is first wanted, and made anew when the
  * daemon has gone. [[NodeLease]] is what an executor holds besides, work or not.
  *
  * @param python
  *   the Python that starts the daemon
  * @param disk
  *   a folder that takes regions for which memory has no room
  */
final class NodeDaemon private (settings: Settings, python: String, disk: Path) {
  private var current: Option[DaemonClient] = None

  /** The daemon that answers now, started where none does. Throws [[DaemonError]] where none can be had. */
  def client(): DaemonClient = synchronized {
    current.filterNot(_.ended.isDone).getOrElse {
      current.foreach(_.close())
      current = None
      val client = connect()
      current = Some(client)
      client
    }
  }

  private def connect(): DaemonClient = connect(NodeDaemon.Attempts)

  /** A daemon that has just begun to leave still seems to answer to whoever starts one. */
  @tailrec
  private def connect(attempts: Int): DaemonClient = {
    val result =
      try Right(attachOrStart())
      catch { case error: DaemonError if attempts > 1 && settings.daemonStart => Left(error) }
    result match {
      case Right(client) => client
      case Left(_)       =>
        Thread.sleep(NodeDaemon.PauseMillis)
        connect(attempts - 1)
    }
  }

  private def attachOrStart(): DaemonClient =
    try attach()
    catch {
      case _: DaemonError if settings.daemonStart =>
        DaemonProcess.start(settings, python, new CompletableFuture)
        attach()
    }

  private def attach(): DaemonClient =
    new DaemonClient(settings.daemonSocket, s"process ${ProcessHandle.current.pid}", Some(disk))
}

object NodeDaemon {
  private val Attempts = 4
  private val PauseMillis = 500L
  private val daemons = new ConcurrentHashMap[Path, NodeDaemon]

  /** The connection of this process to the daemon at the socket that `settings` name. */
  def of(settings: Settings, python: String, disk: => Path): NodeDaemon =
    daemons.computeIfAbsent(settings.daemonSocket, _ => new NodeDaemon(settings, python, disk))
}
