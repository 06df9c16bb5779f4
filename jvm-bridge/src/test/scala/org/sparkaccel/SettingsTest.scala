package org.sparkaccel

import java.nio.file.Paths

import org.scalatest.funsuite.AnyFunSuite
import org.scalatest.prop.TableDrivenPropertyChecks._

class SettingsTest extends AnyFunSuite {
  private def spark(settings: (String, String)*): Settings = Settings.resolve(settings.toMap, Map.empty)

  test("an unknown key is refused, with the nearest one") {
    val error = intercept[ConfigurationError](spark("spark.accel.daemon.idletimout" -> "5s"))

    assert(
      error.getMessage == "unknown setting 'spark.accel.daemon.idletimout'; nearest: 'spark.accel.daemon.idleTimeout'"
    )
  }

  test("an unknown variable of the environment is refused, with the nearest one") {
    val error = intercept[ConfigurationError](Settings.resolve(Map.empty, Map("SPARK_ACCEL_DEVISE" -> "cpu")))

    assert(error.getMessage == "unknown setting 'SPARK_ACCEL_DEVISE'; nearest: 'SPARK_ACCEL_DEVICE'")
  }

  test("names without the prefix are nobody's business here") {
    val settings = Settings.resolve(Map("spark.app.name" -> "accel"), Map("SPARK_HOME" -> "/opt/spark"))

    assert(settings.assigned.isEmpty)
  }

  test("a value is read by its key's type") {
    val values = Table(
      ("key", "readable", "unreadable"),
      ("enabled", Seq("true", "false", "TRUE"), Seq("yes", "")),
      ("fallback", Seq("cpu", "error"), Seq("gpu", "")),
      ("daemon.idleTimeout", Seq("500ms", "60s", "10min", "1.5h", "7", "2 m"), Seq("soon", "10 years", "-1s", "")),
      ("memory.limit", Seq("512m", "4g", "4GB", "1.5t", "1024", "100b"), Seq("much", "4x", "-1g", "")),
      ("repository", Seq("~/models", "/models"), Seq("")),
      ("device", Seq("cpu", "fpga, cpu", "Portable Computing Language:cpu"), Seq("foo", "cpu,", ""))
    )
    forAll(values) { (key, readable, unreadable) =>
      readable.foreach(text => assert(spark(s"spark.accel.$key" -> text).assigned == Map(key -> text)))
      unreadable.foreach { text =>
        val error = intercept[ConfigurationError](spark(s"spark.accel.$key" -> text))
        assert(error.getMessage.startsWith(s"spark.accel.$key is '$text': expected "))
      }
    }
  }

  test("each row of the table has a type that is known and a default that can be read") {
    for (row <- Settings.table if row.kind != "string") assert(row.expected(row.default).isEmpty, row.key)
    assert(Settings.table.nonEmpty)
  }

  test("Spark's configuration goes over the environment") {
    val environment = Map("SPARK_ACCEL_DEVICE" -> "cpu", "SPARK_ACCEL_FALLBACK" -> "error")

    val settings = Settings.resolve(Map("spark.accel.device" -> "reference"), environment)

    assert(settings.assigned == Map("device" -> "reference", "fallback" -> "error"))
  }

  test("a daemon's environment names what was set, and reads back as the same settings") {
    val settings = spark("spark.accel.daemon.idleTimeout" -> "5s", "spark.accel.device" -> "cpu")

    assert(settings.environment == Map("SPARK_ACCEL_DAEMON_IDLE_TIMEOUT" -> "5s", "SPARK_ACCEL_DEVICE" -> "cpu"))
    assert(Settings.resolve(Map.empty, settings.environment).spark == settings.spark)
  }

  test("the socket is a path of the user's own") {
    val user = Settings.userId

    assert(spark().daemonSocket == Paths.get(s"/tmp/spark-accel-$user/daemon.sock"))
    assert(spark("spark.accel.daemon.socket" -> "~/d.sock").daemonSocket == Paths.get(sys.env("HOME"), "d.sock"))
  }
}
