package org.sparkaccel

import java.nio.file.{Path, Paths}
import java.util.Locale

import scala.jdk.CollectionConverters._
import scala.util.Using

import com.fasterxml.jackson.databind.{JsonNode, ObjectMapper}
import com.sun.security.auth.module.UnixSystem
import org.apache.commons.text.similarity.LevenshteinDistance
import org.sparkaccel.protocol.LeaseGrant

/** A setting is unknown or its value can't be used. */
class ConfigurationError(message: String) extends IllegalArgumentException(message)

/** The configuration, `spark.accel.*` in Spark over `SPARK_ACCEL_*` in the environment: the same table and rules as
  * `spark_accel/settings.py`.
  *
  * @param assigned
  *   the keys that somebody set, without prefix, with the text they gave
  */
final class Settings private (val assigned: Map[String, String]) {
  def enabled: Boolean = apply("enabled").toBoolean

  def daemonStart: Boolean = apply("daemon.start").toBoolean

  def daemonSocket: Path = Settings.path(apply("daemon.socket"))

  /** The Python that runs the daemon, if a setting names one. */
  def daemonPython: Option[String] = Option(apply("daemon.python")).filter(_.nonEmpty)

  /** Whether work that no device can do is an error, and not done on the CPU. */
  def fallbackIsError: Boolean = apply("fallback") == "error"

  /** Whether estimators pack their data as float64. */
  def mlFloat64: Boolean = apply("ml.precision") == "float64"

  /** How many bytes of shared memory this process may hold. */
  def memoryLimit: Long = Settings.bytes(apply("memory.limit"))

  /** What was set, as variables of a daemon's environment. */
  def environment: Map[String, String] = for ((key, text) <- assigned) yield Settings.row(key).environment -> text

  /** What was set, as a Spark configuration. */
  def spark: Map[String, String] = for ((key, text) <- assigned) yield Settings.row(key).spark -> text

  /** What somebody has set and the daemon, which was started with something else, does not go by. */
  def overruled(grant: LeaseGrant): Seq[String] = {
    val served = Seq("device" -> grant.getDevice, "kernels" -> grant.getKernels, "repository" -> grant.getRepository)
    for {
      (key, text) <- served
      own <- assigned.get(key).map(own => if (key == "repository") Settings.path(own).toString else own)
      if own != text
    } yield s"${Settings.SparkPrefix}$key=$own has no effect: the daemon at $daemonSocket was started with '$text' and " +
      "serves all; `spark-accel stop` ends it, or set another spark.accel.daemon.socket"
  }

  private def apply(key: String): String = assigned.getOrElse(key, Settings.row(key).default)
}

object Settings {
  val SparkPrefix = "spark.accel."
  val EnvironmentPrefix = "SPARK_ACCEL_"

  /** One row of the table. */
  final case class Row(key: String, kind: String, default: String, choices: Seq[String]) {

    /** The name in a Spark configuration: `spark.accel.daemon.idleTimeout`. */
    def spark: String = SparkPrefix + key

    /** The name in the environment: `SPARK_ACCEL_DAEMON_IDLE_TIMEOUT`. */
    def environment: String =
      EnvironmentPrefix + key.replaceAll("(?<=[a-z])(?=[A-Z])", "_").replace('.', '_').toUpperCase(Locale.ROOT)

    /** What the value should have been, if `text` is none. */
    def expected(text: String): Option[String] = kind match {
      case "boolean" => Option.unless(text.toBooleanOption.isDefined)("true or false")
      case "choice"  => Option.unless(choices.contains(text))("one of " + choices.mkString(", "))
      case "devices" =>
        val known = text.split(",", -1).forall(part => choices.contains(part.trim) || part.contains(':'))
        Option.unless(known)(s"${choices.mkString(", ")} or PLATFORM:DEVICE, or several of them with commas between")
      case "duration" => Option.unless(Duration.matches(text.trim))("a time such as 500ms, 60s or 10min")
      case "bytes"    => Option.unless(Bytes.matches(text.trim.toLowerCase(Locale.ROOT)))("a size such as 512m or 4g")
      case "path"     =>
        val absolute = text.startsWith("/") || text == "~" || text.startsWith("~/")
        Option.unless(absolute)("an absolute path")
      case "string" => None
    }
  }

  private val Duration = """\d+(\.\d+)?\s*(us|ms|s|m|min|h|d)?""".r
  private val Bytes = """(\d+(?:\.\d+)?)\s*([kmgt]?)b?""".r

  /** All keys, in the order of the documentation. */
  lazy val table: Seq[Row] = {
    Using.resource(getClass.getResourceAsStream("settings.json")) { file =>
      new ObjectMapper().readTree(file).elements.asScala.map(row).toSeq
    }
  }

  private def row(json: JsonNode): Row = {
    val choices = json.path("choices").elements.asScala.map(_.asText).toSeq
    Row(json.get("key").asText, json.get("type").asText, json.get("default").asText, choices)
  }

  private def row(key: String): Row = table.find(_.key == key).get

  /** The settings among `configuration` over those among `environment`. Names without our prefix are ignored; an
    * unknown one with it, or a value that can't be read, is a [[ConfigurationError]].
    */
  def resolve(configuration: Map[String, String], environment: Map[String, String]): Settings =
    new Settings(
      assigned(environment, EnvironmentPrefix, _.environment) ++ assigned(configuration, SparkPrefix, _.spark)
    )

  private def assigned(source: Map[String, String], prefix: String, name: Row => String): Map[String, String] =
    for ((found, text) <- source if found.startsWith(prefix)) yield {
      val row = table.find(name(_) == found).getOrElse(throw unknown(found, table.map(name)))
      row.expected(text).foreach(what => throw new ConfigurationError(s"$found is '$text': expected $what"))
      row.key -> text
    }

  private def unknown(name: String, known: Seq[String]): ConfigurationError = {
    val distance = LevenshteinDistance.getDefaultInstance
    def lower(text: String): String = text.toLowerCase(Locale.ROOT)
    val nearest = known.minBy(candidate => distance(lower(candidate), lower(name)).intValue)
    new ConfigurationError(s"unknown setting '$name'; nearest: '$nearest'")
  }

  /** Of a text that `expected` has found nothing wrong with. */
  private def bytes(text: String): Long = {
    val parts = Bytes.findFirstMatchIn(text.trim.toLowerCase(Locale.ROOT)).get
    val unit = if (parts.group(2).isEmpty) 0 else "kmgt".indexOf(parts.group(2)) + 1
    (BigDecimal(parts.group(1)) * (1L << (10 * unit))).toLong
  }

  private def path(text: String): Path = {
    val home = sys.env.getOrElse("HOME", sys.props("user.home"))
    val expanded = if (text == "~" || text.startsWith("~/")) home + text.drop(1) else text
    Paths.get(expanded.replace("{uid}", userId.toString)).toAbsolutePath
  }

  /** The user of this process, as the system numbers it. */
  lazy val userId: Long = new UnixSystem().getUid
}
