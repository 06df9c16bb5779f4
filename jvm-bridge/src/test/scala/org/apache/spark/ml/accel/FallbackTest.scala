package org.apache.spark.ml.accel

import java.nio.file.{Files, Paths}

import scala.jdk.CollectionConverters._

import org.scalatest.funsuite.AnyFunSuite

class FallbackTest extends AnyFunSuite {
  test("the documentation's table of reasons is the code's") {
    val documented = Files
      .readAllLines(Paths.get("docs", "estimators.md"))
      .asScala
      .filter(_.startsWith("| `"))
      .takeRight(Fallback.All.size)

    assert(documented == Fallback.All.map(reason => s"| `${reason.key}` | ${reason.meaning} |"))
  }

  test("a failure of ours is found among the causes, and in text that an executor sent") {
    val wrapped = new RuntimeException("Job aborted", new org.sparkaccel.KernelFailed("no device"))
    val text = new RuntimeException("Job aborted: Lost task 0.0: org.sparkaccel.DaemonError: no daemon\n\tat somewhere")

    assert(Accelerated.failure(wrapped) == Some(Fallback.Kernel -> "no device"))
    assert(Accelerated.failure(text) == Some(Fallback.Daemon -> "no daemon"))
    assert(Accelerated.failure(new RuntimeException("the user's own")).isEmpty)
  }
}
