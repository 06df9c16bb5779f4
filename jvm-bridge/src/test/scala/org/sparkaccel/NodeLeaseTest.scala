package org.sparkaccel

import java.util.concurrent.atomic.AtomicInteger

import scala.concurrent.duration._
import scala.util.Using

import org.scalatest.funsuite.AnyFunSuite

class NodeLeaseTest extends AnyFunSuite {

  /** Keeps a lease and counts how often it has heard from a daemon. */
  private class Keeper(settings: Settings, python: String = RealDaemon.Python) extends AutoCloseable {
    val observed = new AtomicInteger
    @volatile var daemon: Option[String] = None
    private val lease = new NodeLease(settings, "a test", python, observe, 20.millis)

    private def observe(client: DaemonClient): Unit = {
      daemon = Some(client.daemon)
      observed.incrementAndGet()
    }

    def awaitDaemon(other: Option[String] = None): Unit =
      Wait.until("a daemon grants a lease")(daemon.isDefined && daemon != other)

    override def close(): Unit = lease.close()
  }

  test("a daemon is started where none answers, for all, and leaves when its last lease is given back") {
    RealDaemon.withSettings("daemon.idleTimeout" -> "2s") { settings =>
      val (first, second) = (new Keeper(settings), new Keeper(settings))
      first.awaitDaemon()
      second.awaitDaemon()
      assert(first.daemon == second.daemon)

      first.close()
      second.close()

      Wait.until("the daemon leaves")(RealDaemon.process(settings).isEmpty)
    }
  }

  test("a daemon that is killed is replaced") {
    RealDaemon.withSettings() { settings =>
      Using.resource(new Keeper(settings)) { keeper =>
        keeper.awaitDaemon()
        val first = keeper.daemon

        RealDaemon.process(settings).get.destroyForcibly()

        keeper.awaitDaemon(first)
        assert(RealDaemon.process(settings).isDefined)
      }
    }
  }

  test("a daemon is listened to as long as its lease is held, and once more when it is given back") {
    RealDaemon.withSettings() { settings =>
      val keeper = new Keeper(settings)
      Wait.until("the daemon is heard more than once")(keeper.observed.get > 1)

      keeper.close()

      val heard = keeper.observed.get
      assert(heard > 2)
    }
  }

  test("where daemons must not be started, one that comes is attached to") {
    RealDaemon.withSettings("daemon.start" -> "false") { settings =>
      Using.resource(new Keeper(settings, "/no/such/python")) { keeper =>
        assert(RealDaemon.process(settings).isEmpty)
        val own = Settings.resolve(settings.spark + ("spark.accel.daemon.start" -> "true"), Map.empty)

        RealDaemon.start(own)

        keeper.awaitDaemon()
      }
    }
  }

  test("a Python that can't run the daemon breaks nothing") {
    RealDaemon.withSettings() { settings =>
      val keeper = new Keeper(settings, "/no/such/python")

      keeper.close()

      assert(keeper.daemon.isEmpty)
    }
  }
}
