package org.sparkaccel

import java.util.{HashMap => JavaHashMap}

import scala.jdk.CollectionConverters._

/** What an executor tells the driver: by daemon, what it did while this executor watched. Messages hold JDK classes
  * only: Spark's RPC does not find ours everywhere.
  */
object Report {
  type Message = JavaHashMap[String, Array[Long]]

  /** @param host the executor's node: a socket's path is not unique beyond it */
  def message(host: String, spans: Map[String, Span]): Message = {
    val message = new Message
    for ((daemon, Span(from, to)) <- spans) message.put(s"$host $daemon", numbers(from) ++ numbers(to))
    message
  }

  def spans(message: Message): Map[String, Span] =
    message.asScala.map { case (daemon, all) =>
      val (from, to) = all.splitAt(all.length / 2)
      daemon -> Span(counts(from), counts(to))
    }.toMap

  private def numbers(counts: Counts): Array[Long] = Array(counts.requests, counts.images, counts.waitedNanos)

  private def counts(numbers: Array[Long]): Counts = Counts(numbers(0), numbers(1), numbers(2))
}

/** What the driver has heard from all executors. Reports may come late, twice, and from several who watch one daemon.
  */
final class DriverTotal {
  private var spans = Map.empty[String, Span]

  def receive(report: Report.Message): Unit = synchronized {
    for ((daemon, span) <- Report.spans(report)) spans += daemon -> spans.get(daemon).fold(span)(_.merge(span))
  }

  def total: Counts = synchronized(Counts.sum(spans.values.map(_.done)))
}
