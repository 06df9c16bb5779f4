package org.sparkaccel

import com.codahale.metrics.{Gauge, MetricRegistry}

/** Spark metrics of the plugin: `requests`, `images`, `secondsWaited`. */
object Metrics {
  def register(registry: MetricRegistry, counts: () => Counts): Unit = {
    def gauge[T](name: String)(value: Counts => T): Unit = registry.register(name, (() => value(counts())): Gauge[T])

    gauge("requests")(_.requests)
    gauge("images")(_.images)
    gauge("secondsWaited")(_.secondsWaited)
  }
}
