package org.apache.spark.ml.accel

import scala.annotation.tailrec

import org.apache.spark.{Partition, SparkContext, TaskContext}
import org.apache.spark.broadcast.Broadcast
import org.apache.spark.rdd.{RDD, ZippedPartitionsBaseRDD, ZippedPartitionsPartition}
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.storage.StorageLevel
import org.sparkaccel.RegionLost

/** The rows of a fit, packed on the nodes where they are computed. Its partitions are kept there until `close`. */
final private[accel] class PackedDataset private (
    val facts: RDD[PartitionFacts],
    input: RDD[InternalRow],
    packer: LivePartition.Packer
) extends AutoCloseable {

  /** The partitions with rows, each to be worked on by a task where it is packed. */
  val partitions: RDD[LivePartition] = new LivePartitions(facts, input, packer)

  def context: SparkContext = facts.sparkContext

  /** Whether values are float64, and as they were given. */
  def float64: Boolean = packer.packing.float64

  override def close(): Unit = {
    facts.unpersist(blocking = false)
    packer.scope.destroy()
  }
}

private[accel] object PackedDataset {

  /** Packs `input`; one job. The facts come with it, since they decide whether the packed rows are of use. */
  def pack(
      input: RDD[InternalRow],
      rows: Rows,
      packing: Packing,
      fit: FitContext,
      times: FitTimes
  ): (PackedDataset, DataFacts) = {
    val packer = new LivePartition.Packer(rows, packing, fit, input.sparkContext.broadcast(new FitScope), times)
    val facts = input
      .mapPartitionsWithIndex((index, rows) => Iterator(packer.pack(index, rows)), preservesPartitioning = true)
      .persist(StorageLevel.MEMORY_ONLY)
    val dataset = new PackedDataset(facts, input, packer)
    try (dataset, new DataFacts(facts.collect().toSeq))
    catch {
      case error: Throwable =>
        dataset.close()
        throw error
    }
  }
}

/** A packed partition in a task: packed again from its rows, which stay unread otherwise, if it is not there any more. */
final private[accel] class LivePartition(
    val facts: PartitionFacts,
    rows: () => Iterator[InternalRow],
    packer: LivePartition.Packer
) {
  def index: Int = facts.index

  /** Does `work` on the packed partition, again if its daemon goes meanwhile. */
  def run[T](work: PackedPartition => T): T = attempt(work, 1)

  @tailrec
  private def attempt[T](work: PackedPartition => T, number: Int): T = {
    val result =
      try {
        val packed = packer.find(index).getOrElse(packer.packAgain(index, rows()))
        Right(FitTimes.timed(packer.times.requests)(work(packed)))
      } catch { case lost: RegionLost if number < LivePartition.Attempts => Left(lost) }
    result match {
      case Right(value) => value
      case Left(_)      => attempt(work, number + 1)
    }
  }
}

private[accel] object LivePartition {
  private val Attempts = 5

  /** Packs partitions and keeps them in the process that packs them. */
  final class Packer(
      rows: Rows,
      val packing: Packing,
      fit: FitContext,
      val scope: Broadcast[FitScope],
      val times: FitTimes
  ) extends Serializable {
    def find(index: Int): Option[PackedPartition] = scope.value.find(index)

    def pack(index: Int, input: Iterator[InternalRow]): PartitionFacts = {
      val (facts, packed) = FitTimes.timed(times.packing) {
        new PartitionPacker(rows, packing, () => fit.newRegion()).pack(index, input)
      }
      packed.foreach(scope.value.keep(index, _))
      facts
    }

    def packAgain(index: Int, input: Iterator[InternalRow]): PackedPartition = {
      pack(index, input)
      find(index).getOrElse(throw new RegionLost(s"partition $index was packed again and is gone"))
    }
  }
}

/** Facts zipped with the rows they were made of, which are not computed unless they are asked for. */
final private class LivePartitions(
    var facts: RDD[PartitionFacts],
    var input: RDD[InternalRow],
    packer: LivePartition.Packer
) extends ZippedPartitionsBaseRDD[LivePartition](facts.sparkContext, Seq(facts, input), preservesPartitioning = true) {

  override def compute(split: Partition, context: TaskContext): Iterator[LivePartition] = {
    val parts = split.asInstanceOf[ZippedPartitionsPartition].partitions
    val (factsPart, inputPart) = (parts(0), parts(1))
    facts.iterator(factsPart, context).filter(_.rows > 0).map { one =>
      new LivePartition(one, () => input.iterator(inputPart, context), packer)
    }
  }

  override def clearDependencies(): Unit = {
    super.clearDependencies()
    facts = null
    input = null
  }
}
