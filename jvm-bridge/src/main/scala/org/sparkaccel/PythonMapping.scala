package org.sparkaccel

import org.apache.spark.ml.accel.PySparkStages
import py4j.reflection.{ClassLoadingStrategy, ReflectionUtil}

/** Leads classic PySpark from the stock classes to ours, for as long as it is open: Python programs ask for Java classes
  * by name, through py4j, and py4j has one place where names become classes.
  *
  * That place is a static of the JVM and outlives a SparkContext. So `close` puts back what was there.
  */
final class PythonMapping private (private val base: ClassLoadingStrategy, loadsInJvm: Boolean)
    extends ClassLoadingStrategy
    with AutoCloseable {

  override def classForName(name: String): Class[_] = base.classForName(mapped(name))

  override def getClassLoader: ClassLoader = base.getClassLoader

  override def close(): Unit =
    if (ReflectionUtil.getClassLoadingStrategy eq this) ReflectionUtil.setClassLoadingStrategy(base)

  private def mapped(name: String): String =
    PySparkStages.estimators.get(name) match {
      case Some(ours) => ours
      case None       => PySparkStages.composites.get(name).filter(_ => loadsInJvm && !constructing).getOrElse(name)
    }

  /** Whether py4j wants the class for `new`, and not for its static methods: ours only has those. */
  private def constructing: Boolean =
    StackWalker.getInstance.walk(frames => frames.limit(8).anyMatch(_.getMethodName == "getConstructor"))
}

object PythonMapping {

  /** Maps from now on.
    *
    * @param sparkVersion
    *   PySpark 4.0 loads a pipeline, and whatever else consists of estimators, in the JVM; later ones do that in Python,
    *   an estimator at a time
    */
  def open(sparkVersion: String): PythonMapping = {
    val base = ReflectionUtil.getClassLoadingStrategy match {
      case left: PythonMapping => left.base // by a context whose start failed after its plugins were made
      case other               => other
    }
    val mapping = new PythonMapping(base, sparkVersion.startsWith("4.0."))
    ReflectionUtil.setClassLoadingStrategy(mapping)
    mapping
  }
}
