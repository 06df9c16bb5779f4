package org.sparkaccel

/** What daemons did: requests answered, images in them (rows, for a model that is no network), time spent in queues. */
final case class Counts(requests: Long, images: Long, waitedNanos: Long) {
  def secondsWaited: Double = waitedNanos / 1e9

  def +(that: Counts): Counts = combine(that)(_ + _)

  def -(that: Counts): Counts = combine(that)(_ - _)

  def max(that: Counts): Counts = combine(that)(math.max)

  def min(that: Counts): Counts = combine(that)(math.min)

  private def combine(that: Counts)(f: (Long, Long) => Long): Counts =
    Counts(f(requests, that.requests), f(images, that.images), f(waitedNanos, that.waitedNanos))
}

object Counts {
  val Zero: Counts = Counts(0, 0, 0)

  def sum(counts: Iterable[Counts]): Counts = counts.foldLeft(Zero)(_ + _)
}

/** A daemon's counts when we came, and now. */
final case class Span(from: Counts, to: Counts) {
  def done: Counts = to - from

  /** What two who watch the same daemon have seen together. */
  def merge(that: Span): Span = Span(from.min(that.from), to.max(that.to))
}

/** Makes sums that only grow of what one executor reads of its daemons, whose statistics start at 0 again when a model
  * is loaded anew or a daemon takes the place of another. Not thread-safe, but for `spans`.
  */
final class Tally {
  private var last = Map.empty[(String, String), Counts]
  @volatile private var seen = Map.empty[String, Span]

  /** By daemon, what it did while this executor watched it. */
  def spans: Map[String, Span] = seen

  /** Takes the statistics of `daemon`, by model. */
  def read(daemon: String, models: Map[String, Counts]): Unit = {
    // The first daemon may have worked for others before this executor came; the ones after it began under its eyes.
    val first = if (seen.isEmpty) Counts.sum(models.values) else Counts.Zero
    val span = seen.getOrElse(daemon, Span(first, Counts.Zero))
    val grown = models.map { case (model, now) =>
      val more = now - last.getOrElse((daemon, model), Counts.Zero)
      if (more.min(Counts.Zero) == Counts.Zero) more else now
    }
    seen += daemon -> span.copy(to = span.to + Counts.sum(grown))
    last ++= models.map { case (model, now) => (daemon, model) -> now }
  }
}
