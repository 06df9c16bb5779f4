package org.sparkaccel

import java.nio.file.{Files, Path}
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
final class NodeDaemon private (settings: Settings, python: String, disk: Option[Path]) extends AutoCloseable {
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

  /** Gives its lease back. */
  override def close(): Unit = synchronized {
    current.foreach(_.close())
    current = None
  }

  /** A daemon that has just begun to leave still seems to answer to whoever starts one: then that is done again. A start
    * that fails fails.
    */
  @tailrec
  private def connect(starts: Int = 0): DaemonClient = {
    val attached =
      try Right(attach())
      catch { case error: DaemonError if starts < NodeDaemon.Starts && settings.daemonStart => Left(error) }
    attached match {
      case Right(client) => client
      case Left(_)       =>
        if (starts > 0) Thread.sleep(NodeDaemon.PauseMillis)
        DaemonProcess.start(settings, python, new CompletableFuture)
        connect(starts + 1)
    }
  }

  private def attach(): DaemonClient =
    new DaemonClient(
      settings.daemonSocket,
      s"process ${ProcessHandle.current.pid}",
      disk,
      settings.fallbackIsError
    )
}

object NodeDaemon {
  private val Starts = 4
  private val PauseMillis = 500L
  private val daemons = new ConcurrentHashMap[Key, NodeDaemon]

  /** What sessions, and contexts one after the other, may differ in. */
  private case class Key(socket: Path, fallbackIsError: Boolean, python: String, disk: Option[Path])

  /** The connection of this process to the daemon at the socket that `settings` name. */
  def of(settings: Settings, python: String, disk: Option[Path]): NodeDaemon = {
    val key = Key(settings.daemonSocket, settings.fallbackIsError, python, disk)
    Option(daemons.get(key)).getOrElse {
      close(_.disk.exists(!Files.exists(_))) // those of contexts that have ended
      daemons.computeIfAbsent(key, _ => new NodeDaemon(settings, python, disk))
    }
  }

  /** Gives all leases back: the context ends. */
  def closeAll(): Unit = close(_ => true)

  private def close(which: Key => Boolean): Unit =
    daemons.keySet.forEach(key => if (which(key)) Option(daemons.remove(key)).foreach(_.close()))
}
