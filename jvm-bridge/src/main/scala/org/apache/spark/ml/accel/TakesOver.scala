package org.apache.spark.ml.accel

import org.apache.spark.ml.param.{Param, Params}

/** An estimator that can take the place of a stock one: it gets the stock one's parameters, those that were set and
  * those that are defaults, which in what an older Spark saved may be others than today's.
  */
trait TakesOver extends Params {
  def takeOver(stock: Params): this.type = {
    for (param <- stock.params.asInstanceOf[Array[Param[Any]]]) {
      val own = getParam(param.name).asInstanceOf[Param[Any]]
      stock.getDefault(param).foreach(value => setDefault(own, value))
      stock.get(param).foreach(value => set(own, value))
    }
    this
  }
}
