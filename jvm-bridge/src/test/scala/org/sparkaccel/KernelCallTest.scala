package org.sparkaccel

import java.nio.{ByteBuffer, ByteOrder}
import java.nio.channels.ClosedChannelException

import scala.collection.mutable.ArrayBuffer
import scala.jdk.CollectionConverters._
import scala.sys.process.Process
import scala.util.{Try, Using}

import io.grpc.Status
import org.scalatest.funsuite.AnyFunSuite

class KernelCallTest extends AnyFunSuite {
  private val made = new ArrayBuffer[Region]

  /** Two rows, (1, 2) and (3, 4), as the kernels want them. */
  private def rows(client: DaemonClient): Region = {
    val buffer = ByteBuffer.allocate(2 * 16 * 4).order(ByteOrder.LITTLE_ENDIAN)
    for ((value, index) <- Seq(1f -> 0, 2f -> 1, 3f -> 16, 4f -> 17)) buffer.putFloat(4 * index, value)
    Using.resource(new RegionWriter(client, 1L << 20)) { writer =>
      writer.write(buffer)
      made += writer.register()
      made.last
    }
  }

  private def lloyd(region: Region, centres: Double*): KernelCall = new KernelCall("kmeans_lloyd")
    .parameter("rows", 2L)
    .parameter("features", 2L)
    .parameter("content_version", 1L)
    .region("values", "FP32", 32, region, 0, 128)
    .doubles("centres", centres.toArray)

  private def withDaemon(test: (Settings, DaemonClient) => Unit): Unit = RealDaemon.withSettings() { settings =>
    RealDaemon.start(settings)
    try Using.resource(new DaemonClient(settings.daemonSocket, "a test"))(test(settings, _))
    finally made.foreach(_.close())
    made.clear()
  }

  /** While the processes that drive the daemon's devices stand still. */
  private def withStoppedWorkers(settings: Settings)(test: => Unit): Unit = {
    val workers = RealDaemon.process(settings).get.children().iterator.asScala.map(_.pid.toString).toSeq
    def signal(name: String): Unit = assert(Process("kill" +: s"-$name" +: workers).! == 0)
    signal("STOP")
    try test
    finally signal("CONT")
  }

  test("a kernel is loaded when it is first called, and answers by name") {
    withDaemon { (_, client) =>
      val answer = lloyd(rows(client), 0, 0, 4, 4).send(client)()

      assert(Seq(answer("weight_sums").get(0), answer("weight_sums").get(1)) == Seq(1.0, 1.0))
      assert(Seq.tabulate(4)(answer("sums").get(_)) == Seq(1.0, 2.0, 3.0, 4.0))
      assert(answer("cost").get(0) == 6.0)
    }
  }

  test("what the daemon refuses fails, in the daemon's words") {
    withDaemon { (_, client) =>
      val error = intercept[KernelFailed](lloyd(rows(client), 1, 2, 3).send(client)())

      assert(error.getMessage.contains("centres"))
    }
  }

  test("a region that the daemon does not have is lost") {
    withDaemon { (settings, client) =>
      val region = rows(client)
      lloyd(region, 0, 0).send(client)()
      region.close()
      Wait.until("it is unregistered")(!RealDaemon.status(settings).contains(region.name))

      intercept[RegionLost](lloyd(region, 0, 0).send(client)())
    }
  }

  test("a region that is closed while a request uses it is unregistered when the request has ended") {
    withDaemon { (settings, client) =>
      val region = rows(client)
      lloyd(region, 0, 0).send(client)()
      withStoppedWorkers(settings) {
        lloyd(region, 0, 0).send(client)
        region.close()
      }

      Wait.until("it is unregistered")(Try(lloyd(region, 0, 0).send(client)()).failed.toOption.exists {
        case _: RegionLost => true
        case error         => throw error
      })
    }
  }

  test("a connection that breaks loses regions, whatever gRPC calls it") {
    withDaemon { (_, client) =>
      val broken = Status.UNKNOWN.withDescription("channel closed").withCause(new ClosedChannelException)

      assert(KernelCall.translated(client, broken.asRuntimeException).isInstanceOf[RegionLost])
      assert(KernelCall.translated(client, Status.UNKNOWN.asRuntimeException).isInstanceOf[KernelFailed])
    }
  }

  test("with the daemon its regions are lost, and the next daemon takes new ones") {
    withDaemon { (settings, _) =>
      val node = NodeDaemon.of(settings, RealDaemon.Python, Some(settings.daemonSocket.getParent))
      val first = node.client()
      val region = rows(first)
      val process = RealDaemon.process(settings).get
      process.destroyForcibly()
      process.onExit.join()

      intercept[RegionLost](lloyd(region, 0, 0).send(first)())

      assert(region.lost)
      val second = node.client()
      assert(lloyd(rows(second), 0, 0).send(second)()("cost").get(0) == 30.0)
    }
  }
}
