package org.sparkaccel

import java.io.File
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path}
import java.util.concurrent.{CompletableFuture, TimeoutException, TimeUnit}

import scala.util.Using

/** The node daemon can't be started or reached. */
class DaemonError(message: String, cause: Throwable = null) extends RuntimeException(message, cause)

/** Starts the node daemon, or finds that one runs, by `PYTHON -m spark_accel daemon --background`. How that is done,
  * and that of several who try at once one wins, is in `spark_accel/launch.py`; the daemon belongs to nobody and
  * outlives this process.
  */
object DaemonProcess {
  private val LimitSeconds = 120L
  private val LinesShown = 20

  /** Returns when the daemon answers. Throws [[DaemonError]] with the last lines of what was printed if it does not,
    * and ends the attempt when `cancelled` completes.
    */
  def start(settings: Settings, python: String, cancelled: CompletableFuture[Unit]): Unit =
    // Files, not pipes: the daemon may inherit them, and nobody drains a pipe once this JVM is gone.
    Using.resource(new Output)(output => run(settings, python, cancelled, output.file))

  private def run(settings: Settings, python: String, cancelled: CompletableFuture[Unit], output: File): Unit = {
    val command = new ProcessBuilder(python, "-m", "spark_accel", "daemon", "--background")
      .redirectInput(new File("/dev/null"))
      .redirectErrorStream(true)
      .redirectOutput(output)
    settings.environment.foreach { case (name, text) => command.environment.put(name, text) }
    val process =
      try command.start()
      catch { case error: java.io.IOException => throw failed(python, error.getMessage, error) }
    try CompletableFuture.anyOf(process.onExit, cancelled).get(LimitSeconds, TimeUnit.SECONDS)
    catch { case _: TimeoutException => throw failed(python, s"no answer in $LimitSeconds s\n" + tail(output.toPath)) }
    finally process.destroy()
    if (!cancelled.isDone && process.exitValue != 0) {
      throw failed(python, s"exit status ${process.exitValue}\n" + tail(output.toPath))
    }
  }

  private def failed(python: String, reason: String, cause: Throwable = null): DaemonError =
    new DaemonError(s"'$python -m spark_accel daemon --background' failed: ${reason.trim}", cause)

  private def tail(output: Path): String =
    new String(Files.readAllBytes(output), UTF_8).linesIterator.toSeq.takeRight(LinesShown).mkString("\n")

  private class Output extends AutoCloseable {
    val file: File = File.createTempFile("spark-accel-", ".out")

    override def close(): Unit = Files.deleteIfExists(file.toPath)
  }
}
