package org.sparkaccel

import java.nio.file.{Files, Path}
import java.nio.file.attribute.PosixFilePermissions
import java.util.concurrent.CompletableFuture

import org.scalatest.funsuite.AnyFunSuite

class DaemonProcessTest extends AnyFunSuite {
  private val settings = Settings.resolve(Map("spark.accel.device" -> "reference"), Map.empty)

  private def start(python: String, cancelled: CompletableFuture[Unit] = new CompletableFuture): Unit =
    DaemonProcess.start(settings, python, cancelled)

  private def withProgram(lines: String*)(test: Path => Unit): Unit = {
    val executable = PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"))
    val program = Files.createTempFile("program", ".sh", executable)
    try {
      Files.writeString(program, ("#!/bin/sh" +: lines).mkString("\n"))
      test(program)
    } finally Files.delete(program)
  }

  test("a Python that does not exist is named") {
    val error = intercept[DaemonError](start("/no/such/python"))

    assert(error.getMessage.startsWith("'/no/such/python -m spark_accel daemon --background' failed: "))
    assert(error.getMessage.contains("No such file"))
  }

  test("a Python that fails is named, with its status and the last lines of what it printed") {
    withProgram("seq 1 1000", "echo 'no module named spark_accel' >&2", "exit 3") { python =>
      val error = intercept[DaemonError](start(python.toString))

      assert(error.getMessage.contains("exit status 3\n"))
      assert(error.getMessage.endsWith("\n999\n1000\nno module named spark_accel"))
      assert(!error.getMessage.contains("\n500\n"))
    }
  }

  test("a Python finds what was set in its environment") {
    withProgram("echo device $SPARK_ACCEL_DEVICE", "exit 1") { python =>
      val error = intercept[DaemonError](start(python.toString))

      assert(error.getMessage.contains("device reference"))
    }
  }

  test("a start that is cancelled ends at once, and its process too") {
    withProgram("exec sleep 600") { python =>
      val cancelled = CompletableFuture.completedFuture(())

      start(python.toString, cancelled)

      Wait.until("the process ends")(
        ProcessHandle.current.descendants.noneMatch(_.info.command.orElse("").contains("sleep"))
      )
    }
  }

  test("a daemon that can't be started is tried once, not again and again") {
    RealDaemon.withSettings() { settings =>
      withProgram("echo again; touch $(mktemp \"$0.XXXXXX\")", "exit 1") { python =>
        intercept[DaemonError](NodeDaemon.of(settings, python.toString, Some(settings.daemonSocket.getParent)).client())

        val tries = python.getParent.toFile.listFiles.filter(_.getName.startsWith(s"${python.getFileName}."))
        tries.foreach(_.delete())
        assert(tries.length == 1)
      }
    }
  }
}
