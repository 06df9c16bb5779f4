package org.apache.spark.ml.accel

import org.apache.spark.{SparkConf, SparkContext}
import org.scalatest.BeforeAndAfterAll
import org.scalatest.funsuite.AnyFunSuite

/** What tasks find of a fit's packed partitions, and how their outcomes come together. */
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
}
