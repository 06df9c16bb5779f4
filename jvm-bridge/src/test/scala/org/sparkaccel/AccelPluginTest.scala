package org.sparkaccel

import java.util.concurrent.ConcurrentLinkedQueue
import java.util.{Collections, Map => JavaMap}

import scala.jdk.CollectionConverters._

import com.codahale.metrics.{Gauge, MetricRegistry}
import org.apache.spark.SparkConf
import org.apache.spark.api.plugin.PluginContext
import org.apache.spark.resource.ResourceInformation
import org.scalatest.funsuite.AnyFunSuite
import py4j.reflection.ReflectionUtil

class AccelPluginTest extends AnyFunSuite {

  /** What Spark hands to a plugin. As on a real executor, `hostname` throws. */
  private class Context(settings: (String, String)*)(id: String = "1") extends PluginContext {
    val sent = new ConcurrentLinkedQueue[AnyRef]
    override val metricRegistry = new MetricRegistry
    override val conf: SparkConf = new SparkConf(false).setAll(settings)
    override def executorID(): String = id
    override def hostname(): String = throw new NullPointerException
    override def resources(): JavaMap[String, ResourceInformation] = Collections.emptyMap()
    override def send(message: AnyRef): Unit = sent.add(message)
    override def ask(message: AnyRef): AnyRef = throw new UnsupportedOperationException

    def metrics: Set[String] = metricRegistry.getNames.asScala.toSet
    def metric(name: String): Any = metricRegistry.getGauges.get(name).asInstanceOf[Gauge[_]].getValue
  }

  private val names = Set("requests", "images", "secondsWaited")

  private def driver(context: Context): (AccelDriverPlugin, Map[String, String]) = {
    val plugin = new AccelDriverPlugin
    val result = plugin.init(null, context)
    plugin.registerMetrics("app-1", context)
    plugin.shutdown()
    (plugin, result.asScala.toMap)
  }

  test("the driver refuses a setting that is unknown") {
    val error = intercept[ConfigurationError](driver(new Context("spark.accel.devise" -> "cpu")()))

    assert(error.getMessage == "unknown setting 'spark.accel.devise'; nearest: 'spark.accel.device'")
  }

  test("the driver tells executors the settings and the Python of Spark's own workers") {
    val context =
      new Context("spark.accel.device" -> "cpu", "spark.pyspark.python" -> "/opt/python", "spark.x" -> "y")()

    val (_, result) = driver(context)

    assert(result == Map("spark.accel.device" -> "cpu", "python" -> "/opt/python"))
    assert(context.metrics == names)
  }

  test("the daemon's Python is its setting, else Spark's, else the environment's") {
    val none = Settings.resolve(Map.empty, Map.empty)
    val own = Settings.resolve(Map("spark.accel.daemon.python" -> "own"), Map.empty)
    val spark = Map("spark.pyspark.python" -> "sparks")
    val environment = Map("PYSPARK_PYTHON" -> "environments")

    assert(AccelDriverPlugin.python(own, spark, environment) == "own")
    assert(AccelDriverPlugin.python(none, spark, environment) == "sparks")
    assert(AccelDriverPlugin.python(none, Map.empty, environment) == "environments")
    assert(AccelDriverPlugin.python(none, Map.empty, Map.empty) == "python3")
  }

  test("the driver leads Python and Connect to our estimators, and Python back to stock ones at its end") {
    val context = new Context(ConnectBackend.Key -> "x.Y")()
    val plugin = new AccelDriverPlugin
    def found: String = ReflectionUtil.classForName("org.apache.spark.ml.clustering.KMeans").getName

    plugin.init(null, context)
    val during = found
    plugin.shutdown()

    assert(context.conf.get(ConnectBackend.Key) == "x.Y,org.sparkaccel.ConnectBackend")
    assert((during, found) == ("pyspark.ml.clustering.KMeans", "org.apache.spark.ml.clustering.KMeans"))
  }

  test("a driver that is switched off leads nobody to our estimators") {
    val context = new Context("spark.accel.enabled" -> "false")()
    val before = ReflectionUtil.getClassLoadingStrategy

    new AccelDriverPlugin().init(null, context)

    assert(!context.conf.contains(ConnectBackend.Key))
    assert(ReflectionUtil.getClassLoadingStrategy eq before)
  }

  test("spark.accel.enabled=false does nothing") {
    RealDaemon.withSettings("enabled" -> "false") { settings =>
      val context = new Context(settings.spark.toSeq: _*)()
      val (_, result) = driver(context)
      val executor = new AccelExecutorPlugin

      executor.init(context, result.asJava)
      executor.shutdown()

      assert(context.metrics.isEmpty)
      assert(context.sent.isEmpty)
      assert(RealDaemon.process(settings).isEmpty)
    }
  }

  test("an executor starts the daemon and reports to the driver, whose metrics show it") {
    RealDaemon.withSettings() { settings =>
      val (drivers, executors) = (new Context(settings.spark.toSeq: _*)("driver"), new Context()())
      val (plugin, _) = driver(drivers)
      val executor = new AccelExecutorPlugin

      executor.init(executors, (settings.spark + ("python" -> RealDaemon.Python)).asJava)
      Wait.until("the executor reports")(!executors.sent.isEmpty)
      executor.shutdown()

      executors.sent.forEach(message => assert(plugin.receive(message) == null))
      for (context <- Seq(drivers, executors)) {
        assert(context.metrics == names)
        assert(names.map(context.metric) == Set(0L, 0.0))
      }
    }
  }

  test("in local mode the metrics are the driver's alone") {
    RealDaemon.withSettings("daemon.start" -> "false") { settings =>
      val context = new Context()("driver")
      val executor = new AccelExecutorPlugin

      executor.init(context, settings.spark.asJava)
      executor.shutdown()

      assert(context.metrics.isEmpty)
    }
  }

  test("no configuration makes an executor throw") {
    RealDaemon.withSettings() { settings =>
      val wrong = Seq(
        settings.spark + ("spark.accel.devise" -> "cpu"),
        settings.spark + ("spark.accel.daemon.idleTimeout" -> "soon"),
        settings.spark + ("spark.accel.daemon.python" -> "/no/such/python"),
        settings.spark + ("spark.accel.daemon.socket" -> "/no/such/folder/daemon.sock")
      )
      for (configuration <- wrong) {
        val executor = new AccelExecutorPlugin
        executor.init(new Context()(), configuration.asJava)
        executor.shutdown()
      }
    }
  }
}
