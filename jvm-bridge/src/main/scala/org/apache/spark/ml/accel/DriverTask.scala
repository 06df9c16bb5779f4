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
  private val inbox = new SynchronousQueue[Piece[_]]
  @volatile private var failed = Option.empty[Throwable]
  @volatile private var waiting = Option.empty[Promise[_]]
  @volatile private var begun = Option.empty[Piece[_]] // what an attempt of the task that was killed has left
  tasks.put(id, this)

  private val job = context.submitJob[Int, Unit, Unit](
    context.makeRDD(Seq(0), 1),
    new Service(id, scope),
    Seq(0),
    (_, _) => (),
    ()
  )
  job.onComplete { result =>
    tasks.remove(id)
    failed = Some(result.failed.getOrElse(new IllegalStateException("the task has ended")))
    waiting.foreach(_.tryFailure(failed.get))
  }(ExecutionContext.parasitic)

  /** What `work` makes of the packed partitions, in the task. Throws what it throws, or why the task ended. */
  def run[T](work: FitScope => T): T = {
    val piece = new Piece(work)
    waiting = Some(piece.promise)
    failed.foreach(piece.promise.tryFailure)
    while (!piece.promise.isCompleted && !hand(piece)) {}
    // As it was thrown, which Spark's own awaitResult wraps.
    Await.ready(piece.promise.future, Duration.Inf).value.get.get
  }

  /** Ends the task; one that still waits for a slot will end when it gets it. */
  override def close(): Unit = {
    tasks.remove(id)
    hand(new Piece(_ => ()))
  }

  /** Gives the task something to do; false if it does not take it now. */
  private def hand(piece: Piece[_]): Boolean = inbox.offer(piece, PollMillis, TimeUnit.MILLISECONDS)

  /** Does the next piece of work if there is one soon. */
  private def serve(scope: Broadcast[FitScope]): Unit = {
    begun = begun.orElse(Option(inbox.poll(PollMillis, TimeUnit.MILLISECONDS)))
    begun.foreach(_.run(scope))
    begun = None
  }
}

private object DriverTask {
  private val PollMillis = 50L
  private val numbers = new AtomicLong
  private val tasks = new ConcurrentHashMap[Long, DriverTask]

  /** Work, and the promise of what it makes. */
  final private class Piece[T](work: FitScope => T) {
    val promise: Promise[T] = Promise[T]()

    def run(scope: Broadcast[FitScope]): Unit = promise.tryComplete(Try(work(scope.value)))
  }

  /** The task. It finds its [[DriverTask]], which is in the same process, by its number. */
  final private class Service(id: Long, scope: Broadcast[FitScope]) extends (Iterator[Int] => Unit) with Serializable {

    @tailrec
    override def apply(nothing: Iterator[Int]): Unit = {
      TaskContext.get().killTaskIfInterrupted()
      val task = tasks.get(id)
      if (task != null) { // else it is closed
        task.serve(scope)
        apply(nothing)
      }
    }
  }
}
