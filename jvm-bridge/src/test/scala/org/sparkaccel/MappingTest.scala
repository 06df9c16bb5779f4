package org.sparkaccel

import org.apache.spark.ml.accel.PySparkStages
import org.scalatest.funsuite.AnyFunSuite
import py4j.reflection.{ReflectionEngine, ReflectionUtil}

class MappingTest extends AnyFunSuite {
  private val kmeans = "org.apache.spark.ml.clustering.KMeans"
  private val pipeline = "org.apache.spark.ml.Pipeline"

  private def found(name: String): String = ReflectionUtil.classForName(name).getName

  private def withMapping(sparkVersion: String)(test: => Unit): Unit = {
    val mapping = PythonMapping.open(sparkVersion)
    try test
    finally mapping.close()
  }

  test("py4j finds our class by the stock one's name, while the mapping is open") {
    val before = ReflectionUtil.getClassLoadingStrategy

    withMapping("4.3.0") {
      assert(found(kmeans) == "pyspark.ml.clustering.KMeans")
      assert(found(classOf[String].getName) == classOf[String].getName)
    }

    assert(found(kmeans) == kmeans)
    assert(ReflectionUtil.getClassLoadingStrategy eq before)
  }

  test("a mapping that was left open by a failed start is replaced, and all is put back by the next") {
    val before = ReflectionUtil.getClassLoadingStrategy
    PythonMapping.open("4.3.0")

    withMapping("4.3.0")(assert(found(kmeans) == "pyspark.ml.clustering.KMeans"))

    assert(ReflectionUtil.getClassLoadingStrategy eq before)
  }

  test("composites are mapped where PySpark loads them in the JVM: for static methods, and not for constructors") {
    withMapping("4.3.0")(assert(found(pipeline) == pipeline))

    withMapping("4.0.1") {
      assert(found(pipeline) == "pyspark.ml.Pipeline")
      val made = new ReflectionEngine().getConstructor("pyspark.ml.Pipeline", Array[Object]("uid"))
      assert(made.invoke(null, Array[Object]("uid")).getClass.getName == pipeline)
    }
  }

  test("each class that is mapped has its place") {
    for ((stock, ours) <- PySparkStages.estimators) {
      assert(Class.forName(stock).isAssignableFrom(Class.forName(ours)))
      val load = Class.forName(ours).getMethod("load", classOf[String]) // as Spark Connect looks for it
      assert(load.getDeclaringClass.getName == ours)
    }
    for (ours <- PySparkStages.composites.values) assert(Class.forName(ours).getMethod("read") != null)
  }

  test("our backend goes after the user's in the list, once") {
    val ours = "org.sparkaccel.ConnectBackend"

    assert(ConnectBackend.addedTo("") == ours)
    assert(ConnectBackend.addedTo("x.Y, z.Z") == s"x.Y,z.Z,$ours")
    assert(ConnectBackend.addedTo(s"$ours,x.Y") == s"$ours,x.Y")
  }
}
