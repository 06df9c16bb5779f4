package org.sparkaccel

import java.nio.file.Path
import java.util.concurrent.{CompletableFuture, ConcurrentHashMap}

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

  private def connect(): DaemonClient =
    try attach()
    catch {
      case _: DaemonError if settings.daemonStart =>
        DaemonProcess.start(settings, python, new CompletableFuture)
        attach()
    }

  private def attach(): DaemonClient =
    new DaemonClient(settings.daemonSocket, s"estimators of process ${ProcessHandle.current.pid}", Some(disk))
}

object NodeDaemon {
  private val daemons = new ConcurrentHashMap[Path, NodeDaemon]

  /** The connection of this process to the daemon at the socket that `settings` name. */
  def of(settings: Settings, python: String, disk: => Path): NodeDaemon =
    daemons.computeIfAbsent(settings.daemonSocket, _ => new NodeDaemon(settings, python, disk))
}
