package org.apache.spark.ml.accel

import java.util.concurrent.{ConcurrentHashMap, SynchronousQueue, TimeUnit}
import java.util.concurrent.atomic.AtomicLong

import scala.annotation.tailrec
import scala.concurrent.{Await, ExecutionContext, Promise}
import scala.concurrent.duration.Duration
import scala.util.Try

import org.apache.spark.{SparkContext, TaskContext}
import org.apache.spark.broadcast.Broadcast

/** In local mode, where the driver's process has the packed rows: one task that works for the driver from iteration to
  * iteration. A job an iteration would take as long as the iteration's work. It can be cancelled as any job.
  *
  * It occupies a slot until it is closed, so close it before other jobs of the same fit: they may need that slot.
  */
final private[accel] class DriverTask(context: SparkContext, scope: Broadcast[FitScope]) extends AutoCloseable {
  import DriverTask._

  private val id = numbers.incrementAndGet()
  private val inbox = new SynchronousQueue[Piece]
  @volatile private var failed = Option.empty[Throwable]
  @volatile private var waiting = Option.empty[Promise[_]]
  inboxes.put(id, inbox)

  private val job = context.submitJob[Int, Unit, Unit](
    context.makeRDD(Seq(0), 1),
    new Service(id, scope),
    Seq(0),
    (_, _) => (),
    ()
  )
  job.onComplete { result =>
    inboxes.remove(id)
    failed = Some(result.failed.getOrElse(new IllegalStateException("the task has ended")))
    waiting.foreach(_.tryFailure(failed.get))
  }(ExecutionContext.parasitic)

  /** What `work` makes of the packed partitions, in the task. Throws what it throws, or why the task ended. */
  def run[T](work: FitScope => T): T = {
    val promise = Promise[T]()
    waiting = Some(promise)
    failed.foreach(promise.tryFailure)
    while (!promise.isCompleted && !hand(Piece(scope => promise.tryComplete(Try(work(scope)))))) {}
    Await.ready(promise.future, Duration.Inf).value.get.get // as it was thrown, which Spark's own awaitResult wraps
  }

  /** Ends the task; one that still waits for a slot will end when it gets it. */
  override def close(): Unit = {
    inboxes.remove(id)
    hand(Stop)
  }

  /** Gives the task something to do; false if it does not take it now. */
  private def hand(piece: Piece): Boolean = inbox.offer(piece, PollMillis, TimeUnit.MILLISECONDS)
}

private object DriverTask {
  private val PollMillis = 50L
  private val numbers = new AtomicLong
  private val inboxes = new ConcurrentHashMap[Long, SynchronousQueue[Piece]]

  final private case class Piece(work: FitScope => Any)
  private val Stop = Piece(_ => ())

  /** The task. It gets its work by the number of the [[DriverTask]], which is in the same process. */
  final private class Service(id: Long, scope: Broadcast[FitScope]) extends (Iterator[Int] => Unit) with Serializable {

    @tailrec
    override def apply(nothing: Iterator[Int]): Unit = {
      TaskContext.get().killTaskIfInterrupted()
      val inbox = inboxes.get(id)
      if (inbox != null) { // else it is closed
        val piece = inbox.poll(PollMillis, TimeUnit.MILLISECONDS)
        if (piece != null) piece.work(scope.value)
        apply(nothing)
      }
    }
  }
}
