package org.sparkaccel

import java.util.concurrent.atomic.AtomicBoolean

import scala.jdk.CollectionConverters._

import org.apache.spark.TaskContext
import org.slf4j.LoggerFactory

/** The board that Spark's resource scheduling gave a task, where the node's daemon drives it.
  *
  * Spark has its address from `spark-accel discover`, which names all boards of a node, emulated ones where there are
  * no others; a daemon drives what `spark.accel.device` means, and `auto` never means emulated ones.
  */
private[sparkaccel] object TaskBoard {
  private val log = LoggerFactory.getLogger(getClass)
  private val warned = new AtomicBoolean

  /** The id of this task's board for the request parameter `device`. None without one, and for one that the daemon does
    * not drive, with one warning a process; throws [[KernelFailed]] for that where `spark.accel.fallback` is `error`.
    */
  def assigned(client: DaemonClient): Option[String] = address.filter(driven(_, client))

  /** Addresses of another discovery script mean nothing here. */
  private def address: Option[String] =
    for {
      task <- Option(TaskContext.get())
      resource <- task.resources().get("fpga")
      address <- resource.addresses.headOption if address.matches("fpga(-emulator)?-\\d+")
    } yield address

  private[sparkaccel] def driven(
      address: String,
      client: DaemonClient,
      warn: String => Unit = text => if (warned.compareAndSet(false, true)) log.warn(text)
  ): Boolean = {
    val devices = client.devices
    val ids = devices.getDevicesList.asScala.map(_.getId)
    if (!ids.contains(address)) {
      val there = if (ids.isEmpty) s"nothing (${devices.getFailure})" else ids.mkString(", ")
      val text =
        s"Spark gave a task the board '$address', which the node's daemon does not drive; it drives $there. Set" +
          " spark.accel.device=fpga, and end a daemon that was started otherwise (`spark-accel stop`)"
      if (client.fallbackIsError) throw new KernelFailed(s"$text, or allow spark.accel.fallback=cpu")
      warn(s"$text. Until then such tasks run on what it drives")
    }
    ids.contains(address)
  }
}
