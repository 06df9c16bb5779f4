package org.sparkaccel

import org.apache.spark.SparkEnv
import org.apache.spark.ml.accel.FitContext

/** Calls kernels of users (docs/own-kernels.md) on the daemon of this node, from a task or from the driver.
  *
  * {{{
  * val sum = Kernels.call("vector_add", Map("a" -> KernelTensor(a), "b" -> KernelTensor(b))).floats("sum")
  * }}}
  */
object Kernels {

  /** The outputs for these inputs and scalars, which are Int, Long, Float or Double. The daemon is started where none
    * runs; tensors travel with the request and its answer, at most 256 MiB each.
    *
    * Throws [[KernelFailed]] with the daemon's words where the kernel is not there, refuses the request or fails, and
    * [[DaemonError]] where no daemon can be had.
    */
  def call(name: String, inputs: Map[String, KernelTensor], scalars: Map[String, Any] = Map.empty): KernelCall.Answer =
    try call(node.client(), name, inputs, scalars)
    catch {
      case _: RegionLost => call(node.client(), name, inputs, scalars)
    } // the daemon had gone: the next one does it

  private[sparkaccel] def call(
      client: DaemonClient,
      name: String,
      inputs: Map[String, KernelTensor],
      scalars: Map[String, Any]
  ): KernelCall.Answer = {
    val call = new KernelCall(name)
    inputs.foreach { case (input, tensor) => call.tensor(input, tensor) }
    scalars.foreach {
      case (scalar, value: Int)    => call.parameter(scalar, value.toLong)
      case (scalar, value: Long)   => call.parameter(scalar, value)
      case (scalar, value: Float)  => call.parameter(scalar, value.toDouble)
      case (scalar, value: Double) => call.parameter(scalar, value)
      case (scalar, value)         =>
        throw new IllegalArgumentException(s"scalar '$scalar' is $value, expected Int, Long, Float or Double")
    }
    call.send(client)()
  }

  private def node: NodeDaemon = {
    val configuration = Option(SparkEnv.get).fold(Map.empty[String, String])(_.conf.getAll.toMap)
    val settings = Settings.resolve(configuration, sys.env)
    // The connection is the estimators', too, whose rows may go to disk.
    val disk = Option(SparkEnv.get).map(_ => FitContext.disk)
    NodeDaemon.of(settings, AccelDriverPlugin.python(settings, configuration, sys.env), disk)
  }
}
