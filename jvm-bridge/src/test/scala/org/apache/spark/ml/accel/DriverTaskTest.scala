package org.apache.spark.ml.accel

import java.util.concurrent.{CompletableFuture, LinkedBlockingQueue, TimeUnit}

import org.apache.spark.{SparkConf, SparkContext, SparkException, TaskContext}
import org.scalatest.BeforeAndAfterAll
import org.scalatest.funsuite.AnyFunSuite
import org.sparkaccel.KernelFailed

/** The task that works for the driver from iteration to iteration, in Spark with one slot. */
class DriverTaskTest extends AnyFunSuite with BeforeAndAfterAll {
  private lazy val context = new SparkContext(
    new SparkConf()
      .setMaster("local[1]")
      .setAppName("driver task")
      .set("spark.ui.enabled", "false")
      .set("spark.driver.host", "127.0.0.1")
  )

  override def afterAll(): Unit = context.stop()

  private def withTask[T](body: DriverTask => T): T = {
    val task = new DriverTask(context, context.broadcast(new FitScope))
    try body(task)
    finally task.close()
  }

  test("all pieces of work run in one task, one after the other") {
    withTask { task =>
      assert((1 to 3).map(_ => task.run(_ => TaskContext.get().taskAttemptId())).distinct.size == 1)
    }
  }

  test("what a piece of work throws comes through, and the next one runs") {
    withTask { task =>
      val error = intercept[KernelFailed](task.run[Int](_ => throw new KernelFailed("no device")))

      assert(error.getMessage == "no device")
      assert(task.run(_ => 7) == 7)
    }
  }

  test("after it is closed other jobs have its slot") {
    withTask(_.run(_ => ()))

    assert(context.makeRDD(Seq(1, 2)).count() == 2)
  }

  test("a cancelled job ends the work with the reason, and gives back the slot") {
    val (began, over) = (new CompletableFuture[Unit], new CompletableFuture[Unit])
    val refusal = new CompletableFuture[SparkException]
    inGroup {
      withTask { task =>
        val driver = new Thread(() => {
          refusal.complete(intercept[SparkException](task.run { _ => began.complete(()); over.get() }))
          ()
        })
        driver.start()
        began.get(30, TimeUnit.SECONDS)

        context.cancelJobGroup("fit")

        assert(refusal.get(30, TimeUnit.SECONDS).getMessage.contains("cancelled"))
        over.complete(())
      }
    }
    assert(context.makeRDD(Seq(1)).count() == 1)
  }

  test("what a killed attempt of the task has left is done by the next") {
    val (attempts, over) = (new LinkedBlockingQueue[Long], new CompletableFuture[Unit])
    withTask { task =>
      val killer = new Thread(() => {
        context.killTaskAttempt(attempts.take(), interruptThread = true, "a test")
        over.complete(())
        ()
      })
      killer.start()

      val done = task.run { _ =>
        attempts.put(TaskContext.get().taskAttemptId())
        if (TaskContext.get().attemptNumber() == 0) new CompletableFuture[Unit].get() // until it is interrupted
        TaskContext.get().attemptNumber()
      }

      assert(done == 1)
      over.get(30, TimeUnit.SECONDS)
    }
  }

  test("work that is asked for after the job was cancelled is refused with the reason") {
    inGroup {
      withTask { task =>
        task.run(_ => ())
        context.cancelJobGroup("fit")

        val error = intercept[SparkException](while (true) task.run(_ => ()))

        assert(error.getMessage.contains("cancelled"))
      }
    }
  }

  private def inGroup(body: => Unit): Unit = {
    context.setJobGroup("fit", "a fit that is cancelled")
    try body
    finally context.clearJobGroup()
  }
}
