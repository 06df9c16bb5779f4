package org.sparkaccel

import java.net.{StandardProtocolFamily, UnixDomainSocketAddress}
import java.nio.channels.ServerSocketChannel
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions

import scala.util.Using

import org.scalatest.funsuite.AnyFunSuite

class DaemonClientTest extends AnyFunSuite {
  test("settings that a running daemon does not go by are named, and no others") {
    RealDaemon.withSettings() { settings =>
      RealDaemon.start(settings)
      val others = Settings.resolve(settings.spark + ("spark.accel.device" -> "cpu"), Map.empty)
      Using.resource(new DaemonClient(settings.daemonSocket, "a test")) { client =>
        assert(settings.overruled(client.grant).isEmpty)
        val said = others.overruled(client.grant)
        assert(said.length == 1)
        assert(said.head.startsWith("spark.accel.device=cpu has no effect: the daemon at "))
        assert(said.head.contains("was started with 'reference'"))
      }
    }
  }

  private def refusal(settings: Settings): String =
    intercept[DaemonError](new DaemonClient(settings.daemonSocket, "a test")).getMessage

  private def listenAndDie(settings: Settings): Unit =
    ServerSocketChannel
      .open(StandardProtocolFamily.UNIX)
      .bind(UnixDomainSocketAddress.of(settings.daemonSocket))
      .close()

  test("a daemon grants a lease and says what it has done") {
    RealDaemon.withSettings() { settings =>
      RealDaemon.start(settings)

      Using.resource(new DaemonClient(settings.daemonSocket, "a test")) { client =>
        assert(client.grant.getLease.nonEmpty)
        assert(client.grant.getRepository == settings.daemonSocket.resolveSibling("repository").toString)
        assert(client.statistics() == Map.empty)
        assert(!client.ended.isDone)
      }
    }
  }

  test("the lease ends with its daemon") {
    RealDaemon.withSettings() { settings =>
      RealDaemon.start(settings)

      Using.resource(new DaemonClient(settings.daemonSocket, "a test")) { client =>
        RealDaemon.process(settings).get.destroyForcibly()

        Wait.until("the lease ends")(client.ended.isDone)
      }
    }
  }

  test("a daemon that took the place of another can be told from it") {
    RealDaemon.withSettings() { settings =>
      def named: String = {
        RealDaemon.start(settings)
        Using.resource(new DaemonClient(settings.daemonSocket, "a test"))(_.daemon)
      }
      val first = named
      assert(named == first)
      val process = RealDaemon.process(settings).get
      process.destroyForcibly()
      process.onExit.join()

      assert(named != first)
    }
  }

  test("a socket that nobody serves is refused: there is none, or who made it is dead") {
    RealDaemon.withSettings() { settings =>
      assert(refusal(settings).contains("it does not exist"))

      listenAndDie(settings)

      assert(refusal(settings).startsWith(s"no daemon answers at ${settings.daemonSocket}"))
    }
  }

  test("a socket in a folder that others can enter, or behind a link, is refused") {
    RealDaemon.withSettings() { settings =>
      val folder = settings.daemonSocket.getParent
      val link = folder.resolve("link")
      listenAndDie(settings)
      Files.createSymbolicLink(link, folder)
      val behind = intercept[DaemonError](new DaemonClient(link.resolve("daemon.sock"), "a test")).getMessage
      Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwxr-x---"))

      assert(behind.contains("its folder is a link"))
      assert(refusal(settings).contains("its folder must have mode 0700"))
    }
  }
}
