package org.apache.spark.ml.accel

import scala.annotation.tailrec
import scala.collection.mutable
import scala.reflect.ClassTag

import io.grpc.Context
import org.apache.spark.{SparkContext, SparkEnv, TaskContext}
import org.apache.spark.broadcast.Broadcast
import org.apache.spark.rdd.RDD
import org.apache.spark.scheduler.ExecutorCacheTaskLocation
import org.apache.spark.sql.catalyst.InternalRow
import org.sparkaccel.RegionLost

/** The rows of a fit, packed on the nodes where they are computed and kept there until `close`.
  *
  * Work on them is one small task a process, which knows nothing of how the rows are computed: a job whose tasks carry
  * the whole lineage takes several times as long as the work of an iteration. Partitions that a task does not find, since
  * their daemon or executor is gone, are packed again by a job of their own.
  */
final private[accel] class PackedDataset private (
    packing: RDD[PackingResult],
    packer: PackedDataset.Packer,
    packed: Seq[PackingResult]
) extends AutoCloseable {

  /** Where each partition with rows is packed. */
  private var places: Map[Int, String] =
    packed.collect { case PackingResult(place, Some(facts)) if facts.rows > 0 => facts.index -> place }.toMap

  private var inDriver = Option.empty[DriverTask]

  def context: SparkContext = packing.sparkContext

  /** Whether values are float64, and as they were given. */
  def float64: Boolean = packer.packing.float64

  /** How many partitions the data has, with those that have no rows. */
  def partitions: Int = packing.getNumPartitions

  /** Sums over all partitions, by a tree as deep as `depth`, of what `ask` gets and `sums` makes of it. `ask` sends a
    * request; what it gives waits for the answer.
    */
  def sum[A](
      depth: Int = 2
  )(ask: PackedPartition => () => A)(sums: (PackedPartition, A) => FixedPointSums): FixedPointSums =
    reduce(places.keys.toSeq, depth)((_, packed) => ask(packed))(
      (_, packed, answer) => sums(packed, answer),
      (one: FixedPointSums, other: FixedPointSums) => one.merge(other)
    )

  /** What `ask` gets from each of the partitions `indices`, all that have rows if not said, by index. */
  def collect[A](indices: Iterable[Int] = places.keys)(ask: (Int, PackedPartition) => () => A): Map[Int, A] =
    reduce(indices.toSeq, 2)(ask)(
      (index, _, answer) => Map(index -> answer),
      (one: Map[Int, A], other: Map[Int, A]) => one ++ other
    )

  private def reduce[A, T: ClassTag](indices: Seq[Int], depth: Int)(
      ask: (Int, PackedPartition) => () => A
  )(part: (Int, PackedPartition, A) => T, merge: (T, T) => T): T = {
    val work = new PackedWork(packer.scope, packer.times, ask, part, merge)

    @tailrec
    def complete(outcome: Outcome[T], rounds: Int): T =
      if (outcome.missing.isEmpty) outcome.done.get
      else if (rounds == PackedDataset.Rounds)
        throw new RegionLost(s"partitions ${outcome.missing.mkString(", ")} were packed $rounds times and are gone")
      else complete(work.merged(outcome.copy(missing = Nil), packedAgain(outcome.missing, work)), rounds + 1)

    val found =
      if (context.isLocal) driverTask.run(work.on(indices, _))
      else PackedDataset.run(context, groups(indices), work, depth)
    complete(found, 0)
  }

  /** Partitions by the process that has them, and where that is. */
  private def groups(indices: Seq[Int]): Seq[(Seq[Int], Seq[String])] =
    indices.groupBy(places(_)).toSeq.map { case (place, group) => (group.sorted, Seq(place)) }

  /** Packs partitions again and does the work on them at once, wherever that is. */
  private def packedAgain[T](indices: Seq[Int], work: PackedWork[_, T]): Outcome[T] = {
    letGo()
    val done = context.runJob(
      packing,
      (results: Iterator[PackingResult]) => {
        val result = results.next()
        (result.place, work.on(Seq(TaskContext.getPartitionId()), work.scope.value))
      },
      indices
    )
    places ++= indices.zip(done.map(_._1))
    done.map(_._2).reduce(work.merged)
  }

  private def driverTask: DriverTask = inDriver.getOrElse {
    val task = new DriverTask(context, packer.scope)
    inDriver = Some(task)
    task
  }

  /** Gives back the slot that work on the partitions may hold. To be called before any other job of the same fit. */
  def letGo(): Unit = {
    inDriver.foreach(_.close())
    inDriver = None
  }

  override def close(): Unit =
    try letGo()
    finally packer.scope.destroy()
}

/** Where a partition has been packed, and its facts; none if the daemon went meanwhile. */
final private[accel] case class PackingResult(place: String, facts: Option[PartitionFacts])

private[accel] object PackedDataset {
  private val Rounds = 5 // of packing what is missing
  private val MostMergedByDriver = 5 // for so few a tree has no other stage, either

  /** Packs `input`; one job. The facts come with it, since they decide whether the packed rows are of use. */
  def pack(
      input: RDD[InternalRow],
      rows: Rows,
      packing: Packing,
      fit: FitContext,
      times: FitTimes
  ): (PackedDataset, DataFacts) = {
    val packer = new Packer(rows, packing, fit, input.sparkContext.broadcast(new FitScope), times)
    val packingRDD = input.mapPartitionsWithIndex(packer)

    def facts(attempt: Int): Seq[PackingResult] = {
      val results = packingRDD.collect().toSeq
      val lost = results.count(_.facts.isEmpty)
      if (lost == 0) results
      else if (attempt < Rounds) facts(attempt + 1)
      else throw new RegionLost(s"the daemon went while $lost partitions were packed, $attempt times")
    }
    try {
      val results = facts(1)
      (new PackedDataset(packingRDD, packer, results), new DataFacts(results.flatMap(_.facts)))
    } catch {
      case error: Throwable =>
        packer.scope.destroy()
        throw error
    }
  }

  /** Packs partitions and keeps them in the process that packs them. No closure, as [[PackedWork]]. */
  final private class Packer(
      rows: Rows,
      val packing: Packing,
      fit: FitContext,
      val scope: Broadcast[FitScope],
      val times: FitTimes
  ) extends ((Int, Iterator[InternalRow]) => Iterator[PackingResult])
      with Serializable {

    override def apply(index: Int, input: Iterator[InternalRow]): Iterator[PackingResult] = {
      val kept = scope.value // not to be had any more, once rows are packed, if the fit has ended meanwhile
      val facts =
        try {
          val (facts, packed) = FitTimes.timed(times.packing) {
            new PartitionPacker(rows, packing, () => fit.newRegion()).pack(index, input)
          }
          packed.foreach(kept.keep(index, _))
          Some(facts)
        } catch { case _: RegionLost => None }
      val here = SparkEnv.get.blockManager.blockManagerId
      Iterator(PackingResult(ExecutorCacheTaskLocation(here.host, here.executorId).toString, facts))
    }
  }

  /** Has a task for each of the groups do `work`; their outcomes are merged in the driver or, if they are many, by a tree.
    */
  def run[T: ClassTag](
      context: SparkContext,
      groups: Seq[(Seq[Int], Seq[String])],
      work: PackedWork[_, T],
      depth: Int
  ): Outcome[T] = {
    val rdd = context.makeRDD(groups)
    if (groups.size > MostMergedByDriver) rdd.map(work.on(_, work.scope.value)).treeReduce(work.merged, depth)
    else {
      val outcomes = new Array[Outcome[T]](groups.size)
      context.runJob(rdd, work, groups.indices, (i: Int, outcome: Outcome[T]) => outcomes(i) = outcome)
      outcomes.reduce(work.merged)
    }
  }
}

/** What a task made of its partitions, and which of them are not packed there. */
final private[accel] case class Outcome[T](done: Option[T], missing: Seq[Int])

/** What a task does with a group of partitions in its process: it sends requests for several at once, makes something of
  * each answer while the device works on the next, and merges that. A class and no closure: Spark searches the byte code
  * of closures for what they use, which takes longer than the task.
  */
final private[accel] class PackedWork[A, T](
    val scope: Broadcast[FitScope],
    times: FitTimes,
    ask: (Int, PackedPartition) => () => A,
    part: (Int, PackedPartition, A) => T,
    merge: (T, T) => T
) extends ((TaskContext, Iterator[Seq[Int]]) => Outcome[T])
    with Serializable {

  override def apply(context: TaskContext, groups: Iterator[Seq[Int]]): Outcome[T] =
    groups.map(on(_, scope.value)).reduce(merged)

  def on(indices: Seq[Int], scope: FitScope): Outcome[T] = {
    val sent = new mutable.Queue[(Int, PackedPartition, () => A)]
    val missing = Seq.newBuilder[Int]
    var done = Option.empty[T]

    def send(index: Int): Unit = scope.find(index) match {
      case Some(packed) =>
        try sent.enqueue((index, packed, FitTimes.timed(times.requests)(ask(index, packed))))
        catch { case _: RegionLost => missing += index }
      case None => missing += index
    }

    def receive(): Unit = {
      val (index, packed, request) = sent.dequeue()
      try {
        val answer = FitTimes.timed(times.requests)(request())
        done = FitTimes.timed(times.reduction)((done ++ Some(part(index, packed, answer))).reduceOption(merge))
      } catch { case _: RegionLost => missing += index }
    }

    val calls = Context.current.withCancellation()
    val before = calls.attach()
    try {
      for (index <- indices) {
        if (sent.size == PackedWork.InFlight) receive()
        send(index)
      }
      while (sent.nonEmpty) receive()
    } finally calls.detachAndCancel(before, null) // requests whose answers nobody waits for any more
    Outcome(done, missing.result())
  }

  def merged(one: Outcome[T], other: Outcome[T]): Outcome[T] =
    Outcome((one.done ++ other.done).reduceOption(merge), one.missing ++ other.missing)
}

private object PackedWork {
  private val InFlight = 4 // requests at once, so that the device need not wait for the JVM
}
