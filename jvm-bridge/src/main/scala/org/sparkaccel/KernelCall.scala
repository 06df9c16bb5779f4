package org.sparkaccel

import java.io.IOException
import java.nio.{ByteBuffer, ByteOrder, DoubleBuffer, FloatBuffer, IntBuffer}
import java.util.concurrent.{ExecutionException, Future, TimeoutException, TimeUnit}

import scala.annotation.tailrec
import scala.jdk.CollectionConverters._

import com.google.protobuf.{ByteString, UnsafeByteOperations}
import io.grpc.{Status, StatusRuntimeException}

import org.sparkaccel.inference.{InferParameter, ModelInferRequest, ModelInferResponse, RepositoryModelLoadRequest}

/** The daemon can't do what it was asked for, and would not if it were asked again. */
class KernelFailed(message: String, cause: Throwable = null) extends RuntimeException(message, cause)

/** The daemon that had the regions has gone: they have to be written again, for another. */
class RegionLost(message: String, cause: Throwable = null) extends RuntimeException(message, cause)

/** One request to a kernel of the node daemon, sent again while a worker is being replaced.
  *
  * {{{
  * val sums = new KernelCall("kmeans_lloyd").parameter("rows", n)
  *   .region("values", "FP32", n * stride, region, 0, 4 * n * stride).doubles("centres", centres).send(region.client)
  * sums()("cost").get(0)
  * }}}
  */
final class KernelCall(model: String) {
  private val request = ModelInferRequest.newBuilder.setModelName(model)

  def parameter(name: String, value: Long): this.type = {
    request.putParameters(name, number(value))
    this
  }

  def parameter(name: String, value: Double): this.type = {
    request.putParameters(name, InferParameter.newBuilder.setDoubleParam(value).build())
    this
  }

  def parameter(name: String, value: Boolean): this.type = {
    request.putParameters(name, InferParameter.newBuilder.setBoolParam(value).build())
    this
  }

  /** An input of `elements` elements that lies in a region; offset and size are bytes. */
  def region(name: String, datatype: String, elements: Long, region: Region, offset: Long, size: Long): this.type = {
    request
      .addInputsBuilder()
      .setName(name)
      .setDatatype(datatype)
      .addShape(elements)
      .putAllParameters(place(region, offset, size))
    this
  }

  /** An input of FP64 that travels with the request. */
  def doubles(name: String, values: Array[Double]): this.type = tensor(name, KernelTensor(values))

  /** An input that travels with the request. */
  def tensor(name: String, tensor: KernelTensor): this.type = {
    val input = request.addInputsBuilder().setName(name).setDatatype(tensor.datatype)
    tensor.shape.foreach(input.addShape(_))
    request.addRawInputContents(UnsafeByteOperations.unsafeWrap(tensor.bytes))
    this
  }

  /** Sends it; what this gives waits for the answer, and throws [[RegionLost]], [[KernelFailed]]. One that nobody waits for
    * any more is cancelled with the io.grpc.Context in which it was sent.
    */
  def send(client: DaemonClient): () => KernelCall.Answer = {
    TaskBoard.assigned(client).foreach(id => request.putParameters("device", text(id)))
    val message = request.build()
    val sent = client.futures.modelInfer(message)
    () => {
      val answer = await(client, message, sent, 1)
      val outputs = answer.getOutputsList.asScala.zip(answer.getRawOutputContentsList.asScala)
      new KernelCall.Answer(outputs.map { case (output, content) => output.getName -> content }.toMap)
    }
  }

  @tailrec
  private def await(
      client: DaemonClient,
      message: ModelInferRequest,
      sent: Future[ModelInferResponse],
      attempt: Int
  ): ModelInferResponse = {
    val result =
      try Right(sent.get())
      catch { case KernelCall.Refused(error) => Left(error) }
    result match {
      case Right(answer) => answer
      case Left(error)   =>
        if (attempt == KernelCall.Attempts) throw KernelCall.translated(client, error)
        if (KernelCall.unloaded(error)) KernelCall.load(client, model)
        else if (KernelCall.unreached(error) && !KernelCall.ends(client, attempt)) {}
        else throw KernelCall.translated(client, error)
        await(client, message, client.futures.modelInfer(message), attempt + 1)
    }
  }

  private def place(region: Region, offset: Long, size: Long): java.util.Map[String, InferParameter] =
    java.util.Map.of(
      "shared_memory_region",
      text(region.name),
      "shared_memory_offset",
      number(offset),
      "shared_memory_byte_size",
      number(size)
    )

  private def text(value: String): InferParameter = InferParameter.newBuilder.setStringParam(value).build()

  private def number(value: Long): InferParameter = InferParameter.newBuilder.setInt64Param(value).build()
}

object KernelCall {

  /** The outputs of a request by name. */
  final class Answer(outputs: Map[String, ByteString]) {

    /** Of FP64. */
    def apply(name: String): DoubleBuffer = buffer(name).asDoubleBuffer

    /** Of INT32. */
    def ints(name: String): IntBuffer = buffer(name).asIntBuffer

    /** Of FP32. */
    def floats(name: String): FloatBuffer = buffer(name).asFloatBuffer

    /** Of any type: the bytes, little-endian. */
    def buffer(name: String): ByteBuffer = outputs(name).asReadOnlyByteBuffer.order(ByteOrder.LITTLE_ENDIAN)
  }

  private object Refused {
    def unapply(error: ExecutionException): Option[StatusRuntimeException] =
      Option(error.getCause).collect { case status: StatusRuntimeException => status }
  }

  private val Attempts = 12
  private val LongestPauseMillis = 2000L

  /** What a refusal of the daemon means. */
  private[sparkaccel] def translated(client: DaemonClient, error: StatusRuntimeException): RuntimeException = {
    val status = error.getStatus
    val text = Option(status.getDescription).getOrElse(status.getCode.name)
    status.getCode match {
      case Status.Code.CANCELLED if Thread.currentThread.isInterrupted => error
      case Status.Code.CANCELLED                                       => new RegionLost(text, error)
      case _ if unreached(error)                                       => new RegionLost(text, error)
      case Status.Code.NOT_FOUND if !unloaded(error)                   => new RegionLost(text, error)
      case _ if client.ended.isDone                                    => new RegionLost(text, error)
      case code => new KernelFailed(s"the daemon refused a request: $text ($code)", error)
    }
  }

  /** Whether the daemon could not be asked. A connection that breaks is not always UNAVAILABLE: what the daemon itself
    * says has no cause on this side.
    */
  private def unreached(error: StatusRuntimeException): Boolean =
    error.getStatus.getCode == Status.Code.UNAVAILABLE || error.getCause.isInstanceOf[IOException]

  private def unloaded(error: StatusRuntimeException): Boolean =
    Option(error.getStatus.getDescription).exists(_.startsWith("Request for unknown model"))

  private def load(client: DaemonClient, model: String): Unit =
    try client.inference.repositoryModelLoad(RepositoryModelLoadRequest.newBuilder.setModelName(model).build())
    catch {
      case error: StatusRuntimeException => throw translated(client, error)
    }

  /** Whether the daemon ends within a pause that grows with the number of the attempt. */
  private def ends(client: DaemonClient, number: Int): Boolean =
    try {
      client.ended.get(math.min(50L << math.min(number, 10), LongestPauseMillis), TimeUnit.MILLISECONDS)
      true
    } catch { case _: TimeoutException => false }
}
