package org.apache.spark.ml.accel

import java.lang.reflect.{InvocationTargetException, Method}

import scala.util.Try

import org.apache.spark.ml.classification.{LogisticRegression => StockLogisticRegression, LogisticRegressionModel}
import org.apache.spark.ml.linalg.{DenseMatrix, Matrix, Vector}
import org.apache.spark.ml.util.Instrumentation
import org.apache.spark.sql.Dataset

/** The private methods of stock LogisticRegression that training on the device shares with it. They have been the same
  * in all of Spark 4; where one is not there, stock Spark trains.
  */
final private[accel] class StockLogisticMembers(estimator: StockLogisticRegression) {
  private val numbers = classOf[Array[Double]]

  private def member(name: String, parameters: Class[_]*): Method =
    Try {
      val method = classOf[StockLogisticRegression].getDeclaredMethod(name, parameters: _*)
      method.setAccessible(true)
      method
    }.getOrElse(throw new LeftToSpark(Fallback.Version, s"this version of Spark has no LogisticRegression.$name"))

  private val multinomial = member("checkMultinomial", classOf[Int])
  private val bounds = member("createBounds", classOf[Int], classOf[Int], numbers)
  private val checked = member("assertBoundConstrainedOptimizationParamsValid", classOf[Int], classOf[Int])
  private val optimizer = member("createOptimizer", classOf[Int], classOf[Int], numbers, numbers, numbers)
  private val solution = member(
    "createInitialSolution",
    classOf[Int],
    classOf[Int],
    numbers,
    numbers,
    numbers,
    numbers,
    classOf[Instrumentation]
  )
  private val model = member(
    "createModel",
    classOf[Dataset[_]],
    classOf[Int],
    classOf[Matrix],
    classOf[Vector],
    numbers
  )

  private def call[T](method: Method, arguments: Any*): T =
    try method.invoke(estimator, arguments.map(_.asInstanceOf[AnyRef]): _*).asInstanceOf[T]
    catch { case error: InvocationTargetException => throw error.getCause }

  def checkMultinomial(classes: Int): Boolean = call(multinomial, classes)

  def checkBounds(sets: Int, features: Int): Unit = call[Any](checked, sets, features)

  def createBounds(classes: Int, features: Int, std: Array[Double]): (Array[Double], Array[Double]) =
    call(bounds, classes, features, std)

  def createOptimizer(
      classes: Int,
      features: Int,
      std: Array[Double],
      lower: Array[Double],
      upper: Array[Double]
  ): LogisticDescent.Optimizer = call(optimizer, classes, features, std, lower, upper)

  /** Column-major, [sets x (features + 1 if there is an intercept)]. */
  def createInitialSolution(
      classes: Int,
      features: Int,
      histogram: Array[Double],
      std: Array[Double],
      lower: Array[Double],
      upper: Array[Double],
      log: Instrumentation
  ): DenseMatrix = call(solution, classes, features, histogram, std, lower, upper, log)

  /** With its summary. */
  def createModel(
      dataset: Dataset[_],
      classes: Int,
      coefficients: Matrix,
      intercepts: Vector,
      history: Array[Double]
  ): LogisticRegressionModel = call(model, dataset, classes, coefficients, intercepts, history)
}
