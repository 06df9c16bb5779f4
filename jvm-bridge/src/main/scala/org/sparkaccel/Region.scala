package org.sparkaccel

import java.io.IOException
import java.nio.{ByteBuffer, ByteOrder}
import java.nio.channels.FileChannel
import java.nio.file.{Files, NoSuchFileException, Path, Paths, StandardOpenOption}
import java.util.concurrent.{CompletableFuture, ConcurrentHashMap, Executors, TimeUnit}
import java.util.concurrent.atomic.AtomicLong

import scala.util.control.NonFatal

import io.grpc.{Status, StatusRuntimeException}
import org.slf4j.LoggerFactory

import org.sparkaccel.inference.{SystemSharedMemoryRegisterRequest, SystemSharedMemoryUnregisterRequest}

/** A file that this process has written and the daemon reads, registered there under `name` until `close`, which deletes
  * it. It lies in shared memory, or on disk where `memory.limit` or the memory itself was full.
  */
final class Region private[sparkaccel] (val client: DaemonClient, val name: String, file: Path, val size: Long)
    extends AutoCloseable {

  /** Whether the daemon that it is registered at has gone, and the file with it. */
  def lost: Boolean = client.ended.isDone

  /** `length` bytes at `offset`, as they were written. Throws [[RegionLost]] where a daemon that left took the file. */
  def read(offset: Long, length: Int): ByteBuffer = {
    val buffer = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN)
    val channel =
      try FileChannel.open(file, StandardOpenOption.READ)
      catch { case error: NoSuchFileException => throw new RegionLost(s"$file is gone", error) }
    try while (buffer.hasRemaining && channel.read(buffer, offset + buffer.position()) >= 0) {}
    finally channel.close()
    if (buffer.hasRemaining) throw new IOException(s"$file has been cut short")
    buffer.flip()
  }

  /** Deletes the file. The daemon is told by another thread: Spark closes what a fit holds under its memory's lock. */
  override def close(): Unit = {
    Region.delete(file)
    Region.Unregistering.execute(() => unregister())
  }

  /** Asks again as long as the daemon refuses, since a request uses the region: nobody may be waiting for its answer. */
  private def unregister(): Unit = if (!lost)
    try
      client.inference.systemSharedMemoryUnregister(
        SystemSharedMemoryUnregisterRequest.newBuilder.setName(name).build()
      )
    catch {
      case error: StatusRuntimeException if error.getMessage.contains("is currently in use") =>
        Region.Later.execute(() => unregister())
      case NonFatal(error) => Region.log.debug("A region could not be unregistered", error) // its lease ends
    }
}

object Region {
  private[sparkaccel] val log = LoggerFactory.getLogger(classOf[Region])
  private[sparkaccel] val DiskPrefix = "disk:" // of the key of a region in the lease's own folder
  private val Unregistering = Executors.newSingleThreadExecutor { (work: Runnable) =>
    val thread = new Thread(work, "spark-accel-regions")
    thread.setDaemon(true)
    thread
  }
  private val Later = CompletableFuture.delayedExecutor(1, TimeUnit.SECONDS, Unregistering)
  private val numbers = new AtomicLong
  private[sparkaccel] val inMemory = new AtomicLong // bytes of this process' region files in shared memory
  private val files = new ConcurrentHashMap[Path, java.lang.Long] // with how much of `inMemory` each holds

  // What a daemon deletes when a lease ends, unless the daemon has gone first.
  Runtime.getRuntime.addShutdownHook(new Thread(() => files.keySet.forEach(delete(_))))

  /** How many region files this process has, in memory and on disk. */
  def open: Int = files.size

  private[sparkaccel] def fileName(client: DaemonClient): String =
    s"${client.grant.getLease}-${numbers.incrementAndGet()}"

  private[sparkaccel] def hold(file: Path, bytes: Long): Unit = files.put(file, bytes)

  private[sparkaccel] def delete(file: Path): Unit = {
    Option(files.remove(file)).foreach(bytes => inMemory.addAndGet(-bytes))
    Files.deleteIfExists(file)
  }
}

/** Neither memory nor disk has room for a region. */
class RegionError(message: String, cause: Throwable) extends RuntimeException(message, cause)

/** Writes a region from its first byte to its last. Throws [[RegionError]] where neither memory nor disk takes it.
  *
  * @param limit
  *   how many bytes of shared memory this process may hold
  */
final class RegionWriter(client: DaemonClient, limit: Long) extends AutoCloseable {
  private val name = Region.fileName(client)
  private var onDisk = false
  private var file = Paths.get(client.grant.getMemoryDir, name)
  private var channel = opened()
  private var written = 0L
  private var announced = false // the daemon may know of it
  private var finished = false

  def size: Long = written

  /** Appends what is between the buffer's position and its limit. */
  def write(buffer: ByteBuffer): Unit = orNoRoom(written + buffer.remaining)(append(buffer))

  private def orNoRoom[T](bytes: Long)(work: => T): T =
    try work
    catch {
      case error: IOException =>
        throw new RegionError(
          s"a region of $bytes bytes or more fits neither in ${client.grant.getMemoryDir} nor in" +
            s" ${client.disk.getOrElse("a folder on disk, since there is none")}: ${error.getMessage}; free some room, or set spark.local.dir",
          error
        )
    }

  private def append(buffer: ByteBuffer): Unit = {
    val bytes = buffer.remaining
    if (!onDisk && Region.inMemory.addAndGet(bytes) > limit) {
      Region.inMemory.addAndGet(-bytes)
      moveToDisk(s"spark.accel.memory.limit is $limit bytes")
    } else if (!onDisk) Region.hold(file, written + bytes)
    val start = buffer.position()
    try drain(buffer)
    catch {
      case error: IOException if !onDisk => // no room in memory, for which others may be the cause
        buffer.position(start)
        moveToDisk(error.getMessage)
        drain(buffer)
    }
    written += bytes
  }

  /** Registers what has been written. Throws [[RegionLost]] if the daemon has gone meanwhile. */
  def register(): Region = {
    try
      try announce()
      catch {
        // The daemon has the limit of whoever started it, which may be lower than ours.
        case error: StatusRuntimeException if !onDisk && error.getStatus.getCode == Status.Code.RESOURCE_EXHAUSTED =>
          orNoRoom(written)(moveToDisk(error.getStatus.getDescription))
          announce()
      }
    catch { case error: StatusRuntimeException => throw KernelCall.translated(client, error) }
    channel.close()
    finished = true
    region
  }

  private def announce(): Unit = {
    announced = true
    val key = if (onDisk) s"${Region.DiskPrefix}$name" else s"/$name"
    val request = SystemSharedMemoryRegisterRequest.newBuilder.setName(name).setKey(key).setByteSize(written).build()
    client.inference.systemSharedMemoryRegister(request)
  }

  /** Deletes what was written, unless it has been registered. */
  override def close(): Unit = if (!finished) {
    channel.close()
    if (announced) region.close() else Region.delete(file)
  }

  private def region: Region = new Region(client, name, file, written)

  private def drain(buffer: ByteBuffer): Unit = while (buffer.hasRemaining) channel.write(buffer)

  /** Memory may have no room for another file. */
  private def opened(): FileChannel =
    try create(file)
    catch { case error: IOException => orNoRoom(1)(createOnDisk(error.toString)) }

  private def moveToDisk(reason: String): Unit = {
    val (inMemory, source) = (file, channel)
    channel = createOnDisk(reason)
    try {
      var done = 0L
      while (done < written) done += source.transferTo(done, written - done, channel)
    } finally {
      source.close()
      Region.delete(inMemory)
    }
  }

  private def createOnDisk(reason: String): FileChannel = {
    val disk = client.disk.getOrElse(throw new IOException(reason))
    Region.log.info(s"A region goes to $disk: $reason")
    val target = disk.resolve(name)
    val created = create(target)
    file = target
    onDisk = true
    created
  }

  private def create(path: Path): FileChannel = {
    val channel =
      FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE)
    Region.hold(path, 0)
    channel
  }
}
