package org.sparkaccel

import java.nio.file.Files

import scala.util.Using

import org.scalatest.funsuite.AnyFunSuite

class KernelsTest extends AnyFunSuite {
  private val config =
    """backend: "opencl"
      |input { name: "x" data_type: TYPE_FP32 dims: [-1, 2] }
      |output { name: "y" data_type: TYPE_FP32 dims: -1 }
      |parameters { key: "shapes" value { string_value: "x[n, 2], y[n]" } }
      |parameters { key: "scalars" value { string_value: "factor: FP32, shift: INT32" } }
      |parameters { key: "arguments" value { string_value: "x, y, factor, shift" } }
      |parameters { key: "global_size" value { string_value: "n" } }
      |""".stripMargin
  private val source =
    """__kernel void rows(__global const float *x, __global float *y, float factor, int shift) {
      |    int i = get_global_id(0);
      |    y[i] = factor * (x[2 * i] + x[2 * i + 1]) + shift;
      |}
      |""".stripMargin
  private val inputs = Map("x" -> KernelTensor(Array(1f, 2f, 3f, 4f), 2, 2))

  private def withKernel(test: DaemonClient => Unit): Unit = RealDaemon.withSettings("device" -> "cpu") { settings =>
    val folder = settings.daemonSocket.resolveSibling("repository").resolve("rows")
    Files.createDirectories(folder.resolve("1"))
    Files.writeString(folder.resolve("config.pbtxt"), config)
    Files.writeString(folder.resolve("1").resolve("portable.cl"), source)
    RealDaemon.start(settings)
    Using.resource(new DaemonClient(settings.daemonSocket, "a test"))(test)
  }

  test("a kernel of a user's is called with arrays and scalars, and answers by name") {
    withKernel { client =>
      val answer = Kernels.call(client, "rows", inputs, Map("factor" -> 0.5, "shift" -> 10)).floats("y")

      assert(Seq(answer.get(0), answer.get(1)) == Seq(11.5f, 13.5f))
    }
  }

  test("what a kernel can't take fails, in the daemon's words") {
    withKernel { client =>
      val error = intercept[KernelFailed](Kernels.call(client, "rows", inputs, Map("factor" -> 0.5)))

      assert(error.getMessage.contains("request parameter 'shift', a scalar of the kernel, is missing"))
    }
  }

  test("values that do not fill their shape are refused") {
    val error = intercept[IllegalArgumentException](KernelTensor(Array(1f, 2f, 3f), 2, 2))

    assert(error.getMessage.contains("3 values do not fill the shape [2, 2]"))
  }
}
