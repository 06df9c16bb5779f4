package org.apache.spark.ml.accel

import java.util.concurrent.{CompletableFuture, TimeUnit}

import org.apache.spark.{SparkConf, SparkContext, SparkException}
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.sql.catalyst.util.GenericArrayData
import org.scalatest.BeforeAndAfterAll
import org.scalatest.funsuite.AnyFunSuite
import org.sparkaccel.{RealDaemon, Region, Settings, Wait}

/** What tasks find of a fit's packed partitions, how their outcomes come together, and what is left of a fit that ends. */
class PackedDatasetTest extends AnyFunSuite with BeforeAndAfterAll {
  private lazy val context = new SparkContext(
    new SparkConf()
      .setMaster("local[2]")
      .setAppName("packed dataset")
      .set("spark.ui.enabled", "false")
      .set("spark.driver.host", "127.0.0.1")
  )

  override def afterAll(): Unit = context.stop()

  for ((executors, way) <- Seq(2 -> "by the driver", 9 -> "by a tree"))
    test(s"partitions that no task finds are named, merged $way") {
      val scope = context.broadcast(new FitScope)
      val work =
        new PackedWork[Int, Int](scope, new FitTimes(context), (index, _) => () => index, (_, _, index) => index, _ + _)
      val groups = (0 until executors).map(i => Seq(2 * i, 2 * i + 1) -> Seq(s"executor_host_$i"))

      val outcome = PackedDataset.run(context, groups, work, depth = 2)

      assert(outcome.done.isEmpty)
      assert(outcome.missing.sorted == (0 until 2 * executors))
    }

  test("a partition that is packed when its fit has been cancelled leaves no region") {
    RealDaemon.withSettings() { settings =>
      RealDaemon.start(settings)
      val input = context.makeRDD(Seq(0), 1).mapPartitions(_ => PackedDatasetTest.rowsUntilCancelled())
      val driver = new Thread(() => {
        try intercept[SparkException](pack(input, settings))
        finally PackedDatasetTest.cancelled.complete(())
        ()
      })
      driver.start()
      PackedDatasetTest.packing.get(60, TimeUnit.SECONDS)
      assert(Region.open == 1)

      context.cancelAllJobs()

      driver.join()
      Wait.until("its region is deleted")(Region.open == 0)
    }
  }

  private def pack(input: RDD[InternalRow], settings: Settings): Unit = {
    val session = SparkSession.builder().getOrCreate()
    settings.spark.foreach { case (key, text) => session.conf.set(key, text) }
    val rows = new Rows(Rows.Arrays(Rows.Doubles), labelled = false, weighted = false)
    PackedDataset.pack(input, rows, Packing(float64 = true), FitContext(session), new FitTimes(context))
    ()
  }
}

object PackedDatasetTest {
  private val packing, cancelled = new CompletableFuture[Unit]

  /** Rows of which one comes only when the job that wants them has failed. */
  private def rowsUntilCancelled(): Iterator[InternalRow] = Iterator.tabulate(4 * Packing.Sample) { index =>
    if (index == 2 * Packing.Sample) {
      packing.complete(())
      cancelled.get(60, TimeUnit.SECONDS)
    }
    InternalRow(new GenericArrayData(Array(index.toDouble)))
  }
}
