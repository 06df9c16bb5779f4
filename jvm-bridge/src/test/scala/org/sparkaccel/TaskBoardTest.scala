package org.sparkaccel

import scala.collection.mutable
import scala.util.Using

import org.scalatest.funsuite.AnyFunSuite

class TaskBoardTest extends AnyFunSuite {
  private val text =
    "Spark gave a task the board 'fpga-emulator-1', which the node's daemon does not drive; it drives reference. Set" +
      " spark.accel.device=fpga, and end a daemon that was started otherwise (`spark-accel stop`)"

  private def withDaemon(fallback: String)(test: DaemonClient => Unit): Unit =
    RealDaemon.withSettings("fallback" -> fallback) { settings =>
      RealDaemon.start(settings)
      test(NodeDaemon.of(settings, RealDaemon.Python, Some(settings.daemonSocket.getParent)).client())
    }

  test("a board that the daemon does not drive is left, with a warning") {
    withDaemon("cpu") { client =>
      val warnings = mutable.Buffer.empty[String]

      assert(!TaskBoard.driven("fpga-emulator-1", client, warnings += _))
      assert(warnings == Seq(s"$text. Until then such tasks run on what it drives"))
    }
  }

  test("with fallback=error it is an error") {
    withDaemon("error") { client =>
      val error = intercept[KernelFailed](TaskBoard.driven("fpga-emulator-1", client))

      assert(error.getMessage == s"$text, or allow spark.accel.fallback=cpu")
    }
  }

  test("a device that the daemon drives is asked for") {
    withDaemon("error")(client => assert(TaskBoard.driven("reference", client)))
  }

  test("of a daemon without devices it is told why it has none") {
    RealDaemon.withSettings("device" -> "nobody:nothing", "fallback" -> "error") { settings =>
      RealDaemon.start(settings)
      Using.resource(new DaemonClient(settings.daemonSocket, "a test")) { client =>
        val warnings = mutable.Buffer.empty[String]

        TaskBoard.driven("fpga-0", client, warnings += _)

        assert(warnings.head.contains("drives nothing (no OpenCL device matches 'device=nobody:nothing'; there are: "))
      }
    }
  }
}
