package org.apache.spark.ml.accel

import java.util.concurrent.ConcurrentHashMap

/** The packed partitions of one fit in one process. It is the value of a broadcast: Spark closes it in every process
  * that has read it when the fit ends, however it ends. Spark may also close it early, if it evicts the broadcast: then
  * partitions are packed again by readers that get a new one; as long as Spark hands out the closed one, they are gone at
  * once, and the fit is left to stock Spark.
  */
final class FitScope extends AutoCloseable with Serializable {
  @transient private lazy val partitions = new ConcurrentHashMap[Int, PackedPartition]
  @transient @volatile private var closed = false

  /** The partition if it is packed here and its daemon lives. */
  def find(index: Int): Option[PackedPartition] = Option(partitions.get(index)).filterNot(_.lost)

  /** Keeps a partition until the fit ends. One that another task has packed meanwhile takes its place. */
  def keep(index: Int, packed: PackedPartition): PackedPartition = {
    Option(partitions.put(index, packed)).foreach(_.close())
    if (closed) close()
    packed
  }

  override def close(): Unit = {
    closed = true
    partitions.keySet.forEach(index => Option(partitions.remove(index)).foreach(_.close()))
  }
}
