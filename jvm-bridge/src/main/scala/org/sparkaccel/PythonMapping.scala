package org.sparkaccel

import org.apache.spark.ml.accel.PySparkStages.{composites, estimators}
import py4j.reflection.{ClassLoadingStrategy, ReflectionUtil}

/** Leads classic PySpark from the stock classes to ours, for as long as it is open: Python programs ask for Java classes
  * by name, through py4j, and py4j has one place where names become classes.
  *
  * That place is a static of the JVM and outlives a SparkContext. So `close` puts back what was there.
  */
final class PythonMapping private (private val base: ClassLoadingStrategy, loadsInJvm: Boolean)
    extends ClassLoadingStrategy
    with AutoCloseable {
  import PythonMapping.stockOfComposite

  override def classForName(name: String): Class[_] = base.classForName(mapped(name))

  override def getClassLoader: ClassLoader = base.getClassLoader

  override def close(): Unit =
    if (ReflectionUtil.getClassLoadingStrategy eq this) ReflectionUtil.setClassLoadingStrategy(base)

  private def mapped(name: String): String =
    estimators.get(name).orElse(if (loadsInJvm) mappedComposite(name) else None).getOrElse(name)

  // Python asks for the class by its stock name, is told the name of ours, and makes objects or calls methods by that.
  private def mappedComposite(name: String): Option[String] =
    composites.get(name).orElse(stockOfComposite.get(name).filter(_ => constructing))

  /** Whether py4j looks for a constructor. Ours have none: they have the static methods that load. */
  private def constructing: Boolean =
    StackWalker.getInstance.walk(frames => frames.anyMatch(_.getMethodName == "getConstructor"))
}

object PythonMapping {
  private val stockOfComposite = composites.map(_.swap)

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
