package org.sparkaccel

import java.nio.ByteBuffer
import java.nio.file.{Files, Path, Paths}

import scala.util.Using

import org.scalatest.funsuite.AnyFunSuite

class RegionTest extends AnyFunSuite {
  private def withClient(test: (DaemonClient, Path) => Unit): Unit = withDaemon()(test)

  private def withDaemon(extra: (String, String)*)(test: (DaemonClient, Path) => Unit): Unit =
    withDaemonOf(extra: _*)((_, client, disk) => test(client, disk))

  private def withDaemonOf(
      extra: (String, String)*
  )(test: (Settings, DaemonClient, Path) => Unit): Unit = RealDaemon.withSettings(extra: _*) { settings =>
    RealDaemon.start(settings)
    val disk = Files.createTempDirectory("accel-disk-")
    try Using.resource(new DaemonClient(settings.daemonSocket, "a test", Some(disk)))(test(settings, _, disk))
    finally {
      assert(disk.toFile.list.isEmpty)
      Files.delete(disk)
    }
  }

  private def bytes(count: Int): ByteBuffer = ByteBuffer.wrap(Array.tabulate(count)(_.toByte))

  private def written(client: DaemonClient, limit: Long, pieces: Int*): Region =
    Using.resource(new RegionWriter(client, limit)) { writer =>
      pieces.foreach(count => writer.write(bytes(count)))
      writer.register()
    }

  private def files(client: DaemonClient): Seq[String] =
    Paths.get(client.grant.getMemoryDir).toFile.list.filter(_.startsWith(client.grant.getLease)).toSeq

  test("a region has what was written, and is gone when it is closed") {
    withClient { (client, disk) =>
      val region = written(client, 1000, 100, 28)

      assert(region.size == 128)
      assert(region.read(100, 3) == ByteBuffer.wrap(Array[Byte](0, 1, 2)))
      assert(files(client) == Seq(region.name))
      region.close()
      assert(files(client).isEmpty && disk.toFile.list.isEmpty)
    }
  }

  test("what exceeds the limit goes to disk, with what was written before") {
    withClient { (client, disk) =>
      val region = written(client, 100, 60, 60)

      assert(files(client).isEmpty)
      assert(disk.toFile.list.toSeq == Seq(region.name))
      assert(region.read(58, 4) == ByteBuffer.wrap(Array[Byte](58, 59, 0, 1)))
      region.close()
    }
  }

  test("what exceeds the limit of the daemon, which somebody else may have started, goes to disk") {
    withDaemon("memory.limit" -> "100") { (client, disk) =>
      val region = written(client, 1000, 60, 60)

      assert(files(client).isEmpty)
      assert(disk.toFile.list.toSeq == Seq(region.name))
      assert(region.read(58, 4) == ByteBuffer.wrap(Array[Byte](58, 59, 0, 1)))
      region.close()
    }
  }

  test("where memory takes no file, a region is on disk from its first byte on") {
    val memory = Files.createTempDirectory("accel-memory-")
    withDaemon("memory.dir" -> memory.toString) { (client, disk) =>
      Files.delete(memory)

      val region = written(client, 1000, 60)

      assert(disk.toFile.list.toSeq == Seq(region.name))
      assert(region.read(58, 2) == ByteBuffer.wrap(Array[Byte](58, 59)))
      region.close()
    }
  }

  test("a region on disk frees the memory that it had") {
    withClient { (client, _) =>
      written(client, 100, 60, 60).close()

      val second = written(client, 100, 90)

      assert(files(client) == Seq(second.name))
      second.close()
    }
  }

  test("a region that is not finished leaves nothing") {
    withClient { (client, _) =>
      Using.resource(new RegionWriter(client, 1000))(_.write(bytes(10)))

      assert(files(client).isEmpty)
    }
  }

  test("an interrupted thread leaves no region registered, be it registered or on the way to be") {
    withDaemonOf() { (settings, client, _) =>
      val region = written(client, 1000, 10)
      assert(RealDaemon.status(settings).contains(s"${client.grant.getLease}-"))
      Using.resource(new RegionWriter(client, 1000)) { writer =>
        writer.write(bytes(10))
        Thread.currentThread.interrupt()
        try {
          // gRPC cancels the call, unless the daemon has answered by then.
          try writer.register().close()
          catch { case _: RuntimeException => }
          region.close()
        } finally Thread.interrupted()
      }

      assert(files(client).isEmpty)
      Wait.until("both are unregistered")(!RealDaemon.status(settings).contains(s"${client.grant.getLease}-"))
    }
  }

  test("where there is room neither in memory nor on disk, the error names both") {
    withClient { (client, disk) =>
      Using.resource(new RegionWriter(client, 100)) { writer =>
        Files.delete(disk)

        val error = intercept[RegionError](writer.write(bytes(200)))

        assert(error.getMessage.contains(s"a region of 200 bytes or more fits neither in ${client.grant.getMemoryDir}"))
        assert(error.getMessage.contains(disk.toString))
      }
      Files.createDirectory(disk)
    }
  }
}
