package org.sparkaccel

import java.io.IOException
import java.nio.file.{Files, LinkOption, Path}
import java.nio.file.attribute.PosixFilePermission
import java.util.concurrent.{CompletableFuture, ExecutionException, TimeoutException, TimeUnit}

import scala.jdk.CollectionConverters._

import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder
import io.grpc.netty.shaded.io.netty.channel.{ChannelOption, MultiThreadIoEventLoopGroup}
import io.grpc.netty.shaded.io.netty.channel.epoll.{Epoll, EpollDomainSocketChannel, EpollIoHandler}
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress
import io.grpc.netty.shaded.io.netty.util.concurrent.DefaultThreadFactory
import io.grpc.{ClientInterceptors, Metadata, StatusRuntimeException}
import io.grpc.stub.{MetadataUtils, StreamObserver}
import org.sparkaccel.inference.{GRPCInferenceServiceGrpc, ModelStatisticsRequest}
import org.sparkaccel.protocol.{DevicesRequest, DevicesResponse, LeaseGrant, LeaseRequest, NodeGrpc}

/** A connection to one node daemon over its Unix socket, and the lease that comes with it. When that daemon goes, so
  * does its use; what to do then is [[NodeLease]]'s.
  *
  * @param name
  *   who holds the lease, for people
  * @param disk
  *   a folder that takes regions for which memory has no room
  * @param fallbackIsError
  *   whether a task's board that the daemon does not drive is an error, see [[TaskBoard]]
  * @throws DaemonError
  *   if no daemon answers there, or the socket can't be trusted
  */
final class DaemonClient(
    socket: Path,
    name: String,
    val disk: Option[Path] = None,
    val fallbackIsError: Boolean = false
) extends AutoCloseable {
  import DaemonClient._

  check(socket)

  /** Differs between daemons that use the socket one after the other. */
  val daemon: String = {
    val facts =
      try Files.readAttributes(socket, "unix:ino,lastModifiedTime", LinkOption.NOFOLLOW_LINKS)
      catch { case error: IOException => throw new DaemonError(s"no daemon answers at $socket: it is gone", error) }
    s"$socket ${facts.get("ino")} ${facts.get("lastModifiedTime")}"
  }

  private val threads = new MultiThreadIoEventLoopGroup(
    1,
    new DefaultThreadFactory("spark-accel-daemon-client", true),
    EpollIoHandler.newFactory()
  )
  private val channel = NettyChannelBuilder
    .forAddress(new DomainSocketAddress(socket.toFile))
    .channelType(classOf[EpollDomainSocketChannel])
    .eventLoopGroup(threads)
    .directExecutor()
    .withOption(ChannelOption.SO_KEEPALIVE, null) // grpc-java sets it, and this kind of socket warns that it has none
    .overrideAuthority("localhost")
    .maxInboundMessageSize(Int.MaxValue) // sums grow with the number of features
    .keepAliveTime(KeepAliveSeconds, TimeUnit.SECONDS) // a daemon that hangs counts as one that has gone
    .usePlaintext()
    .build()
  private val stream = new LeaseStream
  NodeGrpc
    .newStub(channel)
    .lease(LeaseRequest.newBuilder.setClient(name).setDiskDir(disk.fold("")(_.toString)).build(), stream)

  /** What the daemon granted. */
  val grant: LeaseGrant = firstAnswer()

  private val leased = ClientInterceptors.intercept(
    channel,
    MetadataUtils.newAttachHeadersInterceptor {
      val headers = new Metadata
      headers.put(LeaseKey, grant.getLease)
      headers
    }
  )

  /** The calls of KServe v2, under this client's lease. They throw io.grpc.StatusRuntimeException. */
  val inference: GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub =
    GRPCInferenceServiceGrpc.newBlockingStub(leased)

  /** The same calls, which don't wait for the answer. */
  val futures: GRPCInferenceServiceGrpc.GRPCInferenceServiceFutureStub = GRPCInferenceServiceGrpc.newFutureStub(leased)

  /** Completes when the lease ends, however it ends. */
  def ended: CompletableFuture[Unit] = stream.ended

  /** What the daemon drives, or why it drives nothing: the same as long as it lives. Waits until that is known; throws as a
    * kernel's call does, see [[KernelCall.send]].
    */
  lazy val devices: DevicesResponse =
    try
      NodeGrpc
        .newBlockingStub(channel)
        .withDeadlineAfter(DiscoverySeconds, TimeUnit.SECONDS)
        .devices(DevicesRequest.getDefaultInstance)
    catch { case error: StatusRuntimeException => throw KernelCall.translated(this, error) }

  /** What the daemon has done since it started, by model and version. */
  def statistics(): Map[String, Counts] = {
    val reply = inference
      .withDeadlineAfter(AnswerSeconds, TimeUnit.SECONDS)
      .modelStatistics(ModelStatisticsRequest.getDefaultInstance)
    reply.getModelStatsList.asScala.map { model =>
      val done = model.getInferenceStats
      val counts = Counts(done.getSuccess.getCount, model.getInferenceCount, done.getQueue.getNs)
      s"${model.getName} ${model.getVersion}" -> counts
    }.toMap
  }

  /** Gives the lease back. */
  override def close(): Unit = {
    channel.shutdownNow()
    threads.shutdownGracefully(0, AnswerSeconds, TimeUnit.SECONDS)
  }

  private def firstAnswer(): LeaseGrant =
    try stream.granted.get(AnswerSeconds, TimeUnit.SECONDS)
    catch {
      case error: ExecutionException =>
        close()
        throw new DaemonError(s"no daemon answers at $socket: ${error.getCause.getMessage}", error.getCause)
      case error: TimeoutException =>
        close()
        throw new DaemonError(s"the daemon at $socket granted no lease in $AnswerSeconds s", error)
      case error: Throwable => // the task is killed, for one
        close()
        throw error
    }
}

object DaemonClient {
  private val AnswerSeconds = 5L
  private val DiscoverySeconds = 150L // drivers that hang take the daemon two minutes
  private val KeepAliveSeconds = 30L
  private val LeaseKey = Metadata.Key.of("spark-accel-lease", Metadata.ASCII_STRING_MARSHALLER)
  private val OfOthers = PosixFilePermission.values.filterNot(_.name.startsWith("OWNER_")).toSet

  /** Refuses a socket that somebody else may have put there, or that this machine can't use. */
  private def check(socket: Path): Unit = {
    def refuse(reason: String, cause: Throwable = null): Nothing =
      throw new DaemonError(s"the daemon's socket $socket can't be used: $reason", cause)

    if (!Epoll.isAvailable) refuse("this machine has no epoll", Epoll.unavailabilityCause)
    if (!Files.exists(socket)) refuse("it does not exist")
    val folder = Files.readAttributes(socket.getParent, "unix:isDirectory,uid,permissions", LinkOption.NOFOLLOW_LINKS)
    val permissions = folder.get("permissions").asInstanceOf[java.util.Set[PosixFilePermission]].asScala
    if (folder.get("isDirectory") != true) refuse("its folder is a link")
    if (folder.get("uid").toString != Settings.userId.toString) refuse(s"its folder is user ${folder.get("uid")}'s")
    if (permissions.exists(OfOthers)) refuse("its folder must have mode 0700")
  }

  private final class LeaseStream extends StreamObserver[LeaseGrant] {
    val granted = new CompletableFuture[LeaseGrant]
    val ended = new CompletableFuture[Unit]

    override def onNext(grant: LeaseGrant): Unit = granted.complete(grant)

    override def onError(error: Throwable): Unit = {
      granted.completeExceptionally(error)
      ended.complete(())
    }

    override def onCompleted(): Unit = onError(new IllegalStateException("the daemon ended the lease"))
  }
}
