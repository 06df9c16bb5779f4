package org.sparkaccel

import java.util.concurrent.{CompletableFuture, TimeoutException, TimeUnit}

import scala.concurrent.duration._
import scala.util.control.NonFatal

import org.slf4j.LoggerFactory

/** Keeps a lease on the node's daemon from now until `close`, on a thread of its own: attaches to the daemon that
  * answers, else starts one (unless `daemon.start` is false), and does so again when it goes. While there is none, it
  * warns once and tries again, ever more rarely.
  *
  * @param name
  *   who holds the lease, for people
  * @param python
  *   the Python that starts the daemon
  * @param observe
  *   called with the daemon when the lease is granted, every `interval` after that, and before it is given back
  */
final class NodeLease(
    settings: Settings,
    name: => String,
    python: String,
    observe: DaemonClient => Unit,
    interval: FiniteDuration = 2.seconds
) extends AutoCloseable {
  import NodeLease._

  private val log = LoggerFactory.getLogger(classOf[NodeLease])
  private val closed = new CompletableFuture[Unit]
  private var startDelay: FiniteDuration = FirstStartDelay
  private var nextStart = Deadline.now
  private val thread = new Thread(() => keep(), "spark-accel-lease")
  thread.setDaemon(true)
  thread.start()

  /** Gives the lease back. Does not wait for a daemon that hangs. */
  override def close(): Unit = {
    closed.complete(())
    thread.join(CloseLimit.toMillis)
  }

  private def keep(): Unit = {
    var warned = false
    while (!closed.isDone) {
      try {
        hold(connect())
        warned = false
        if (!closed.isDone) log.warn(s"The node daemon at ${settings.daemonSocket} has gone: looking for another")
      } catch {
        // Whatever it is, Spark goes on, and the next attempt may do better.
        case error: Throwable =>
          if (!warned && !closed.isDone) log.warn(unaccelerated(error))
          warned = true
      }
      await(closed, AttachInterval)
    }
  }

  private def connect(): DaemonClient =
    try attach()
    catch {
      case _: DaemonError if settings.daemonStart && nextStart.isOverdue() =>
        nextStart = startDelay.fromNow
        startDelay = (startDelay * 2).min(LongestStartDelay)
        DaemonProcess.start(settings, python, closed)
        attach()
    }

  private def attach(): DaemonClient = new DaemonClient(settings.daemonSocket, name)

  private def hold(client: DaemonClient): Unit =
    try {
      val since = Deadline.now
      log.info(s"Holds lease ${client.grant.getLease} on the node daemon at ${settings.daemonSocket}")
      val over = CompletableFuture.anyOf(client.ended, closed)
      settings.overruled(client.grant).foreach(log.warn(_))
      CompletableFuture.runAsync(() => warnOfMissingDevices(client)) // they may take a while to be found
      do tell(client) while (!await(over, interval))
      if (!client.ended.isDone) tell(client)
      if ((since + SteadyAfter).isOverdue()) startDelay = FirstStartDelay
    } finally client.close()

  private def warnOfMissingDevices(client: DaemonClient): Unit =
    try {
      val failure = client.devices.getFailure
      if (failure.nonEmpty && client.devices.getDevicesCount == 0) log.warn(s"The node daemon drives nothing: $failure")
      else if (failure.nonEmpty) log.warn(s"The node daemon does its work with numpy on the CPU, slowly: $failure")
    } catch { case NonFatal(error) => log.debug("The node daemon did not say what it drives", error) }

  /** A daemon too busy to answer in time is no reason to give up its lease. */
  private def tell(client: DaemonClient): Unit =
    try observe(client)
    catch { case NonFatal(error) => log.debug("The node daemon did not say what it has done", error) }

  private def unaccelerated(error: Throwable): String = {
    val remedy =
      if (settings.daemonStart)
        """Tasks that need one try to start it themselves, and fail where they can't. Remedy: what its words above ask for;
          |where it said nothing, set spark.accel.daemon.python to a Python that has spark-accel""".stripMargin
      else "Remedy: start one on this node, or set spark.accel.daemon.start=true"
    s"No node daemon for this executor: ${error.getMessage}\n$remedy, or spark.accel.enabled=false if none is wanted." +
      " Trying again."
  }
}

object NodeLease {
  private val AttachInterval = 1.second
  private val FirstStartDelay = 1.second
  private val LongestStartDelay = 1.minute
  private val SteadyAfter = 10.seconds
  private val CloseLimit = 3.seconds

  /** Whether `future` completes within `limit`. */
  private def await(future: CompletableFuture[_], limit: FiniteDuration): Boolean =
    try {
      future.get(limit.toMillis, TimeUnit.MILLISECONDS)
      true
    } catch { case _: TimeoutException => false }
}
