package org.apache.spark.ml.accel

import scala.jdk.CollectionConverters._

import org.apache.spark.ml.classification.{NaiveBayes => StockNaiveBayes, OneVsRest}
import org.apache.spark.ml.clustering.{KMeans => StockKMeans, KMeansModel}
import org.apache.spark.ml.feature.VectorAssembler
import org.apache.spark.ml.tuning.CrossValidator
import org.apache.spark.ml.util.{DefaultParamsReader, MLWritable}
import org.apache.spark.ml.{Estimator, Pipeline, PipelineStage}
import org.apache.spark.sql.{DataFrame, SparkSession}
import org.apache.spark.util.Utils
import org.scalatest.BeforeAndAfterAll
import org.scalatest.funsuite.AnyFunSuite
import org.sparkaccel.RealDaemon

/** Scala programs, which import our estimators in the place of Spark's; and what the Python side is led to. */
class OneImportChangedTest extends AnyFunSuite with BeforeAndAfterAll {
  private lazy val spark = SparkSession
    .builder()
    .master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.driver.host", "127.0.0.1")
    .getOrCreate()

  override def afterAll(): Unit = spark.stop()

  private lazy val rows: DataFrame = {
    val points = for (heap <- 0 until 3; number <- 0 until 20) yield (heap.toDouble, 10.0 * heap + number / 20.0)
    val frame = spark.createDataFrame(points).toDF("label", "x")
    new VectorAssembler().setInputCols(Array("x")).setOutputCol("features").transform(frame)
  }

  /** What `fits`, with a daemon of their own, add to the counters of fits. */
  private def counted(fits: => Unit): Map[String, Long] =
    RealDaemon.withSettings("daemon.python" -> RealDaemon.Python) { settings =>
      settings.spark.foreach { case (key, text) => spark.conf.set(key, text) }
      val before = counts
      fits
      for ((name, count) <- counts; added = count - before.getOrElse(name, 0L) if added > 0) yield name -> added
    }

  private def counts: Map[String, Long] = {
    val all =
      for ((name, count) <- FitCounters.snapshot().asScala if !name.startsWith("nanos.")) yield name -> count.toLong
    all.toMap
  }

  private def saved(estimator: MLWritable): String = {
    val folder = Utils.createTempDir().toPath.resolve("estimator").toString
    estimator.write.save(folder)
    folder
  }

  private def className(path: String): String = DefaultParamsReader.loadMetadata(path, spark).className

  test("estimators are ours, and their models stock, alone and in a pipeline") {
    val kmeans = new KMeans().setK(3).setSeed(1)

    val done = counted {
      assert(kmeans.fit(rows).getClass == classOf[KMeansModel])
      new Pipeline().setStages(Array(kmeans)).fit(rows)
      new OneVsRest().setClassifier(new LogisticRegression().setMaxIter(2)).fit(rows)
      new NaiveBayes().setModelType("gaussian").fit(rows)
    }

    assert(done == Map("accelerated.KMeans" -> 2, "accelerated.LogisticRegression" -> 3, "accelerated.NaiveBayes" -> 1))
  }

  test("what is not set is as in stock Spark, the seed too") {
    val pairs = Seq[(Estimator[_], Estimator[_])](
      new KMeans("a") -> new StockKMeans("a"),
      new NaiveBayes("a") -> new StockNaiveBayes("a"),
      new pyspark.ml.clustering.KMeans("a") -> new StockKMeans("a")
    )
    for ((ours, stock) <- pairs)
      assert(ours.extractParamMap().toSeq.toSet == stock.extractParamMap().toSeq.toSet)
  }

  test("an estimator is saved as a stock one, with what was set") {
    val path = saved(new KMeans().setK(7))

    assert(className(path) == classOf[StockKMeans].getName)
    assert(StockKMeans.load(path).getK == 7)
  }

  test("a copy stays ours") {
    for (one <- Seq[PipelineStage](new KMeans, new NaiveBayes, new pyspark.ml.classification.LogisticRegression))
      assert(one.copy(org.apache.spark.ml.param.ParamMap.empty).getClass == one.getClass)
  }

  test("what Python is led to loads what stock Spark has saved, and everything set in it") {
    val stock = new StockKMeans("some-uid").setK(7).setFeaturesCol("f")
    val path = saved(stock)

    val loaded = pyspark.ml.clustering.KMeans.load(path)

    assert(loaded.getClass == classOf[pyspark.ml.clustering.KMeans])
    assert(loaded.uid == "some-uid")
    assert(loaded.extractParamMap().toSeq.toSet == stock.extractParamMap().toSeq.toSet)
    assert(loaded.isSet(loaded.k) && !loaded.isSet(loaded.maxIter))
    assert(spark_accel.ml.clustering.KMeans.load(path).getClass == classOf[spark_accel.ml.clustering.KMeans])
  }

  test("what was imported loads too, by our own name") {
    val loaded: KMeans = KMeans.load(saved(new StockKMeans().setK(7)))
    val bayes: NaiveBayes = NaiveBayes.load(saved(new NaiveBayes().setSmoothing(0.5)))
    val logistic: LogisticRegression = LogisticRegression.load(saved(new LogisticRegression().setRegParam(0.25)))

    assert((loaded.getK, bayes.getSmoothing, logistic.getRegParam) == ((7, 0.5, 0.25)))
  }

  test("composites load with ours in them, at any depth") {
    val inner = new Pipeline().setStages(Array(new StockKMeans, new OneVsRest().setClassifier(new StockNaiveBayes)))
    val path = saved(new Pipeline().setStages(Array(inner, new StockNaiveBayes)))

    val loaded = pyspark.ml.Pipeline.load(path).getStages
    val inside = loaded.head.asInstanceOf[Pipeline].getStages
    val rest: Any = inside(1).asInstanceOf[OneVsRest].getClassifier
    val names = Seq[Any](inside(0), rest, loaded(1)).map(_.getClass.getName)

    assert(
      names == Seq("clustering.KMeans", "classification.NaiveBayes", "classification.NaiveBayes").map("pyspark.ml." + _)
    )
  }

  test("a subclass of a stock estimator is somebody else's and stays") {
    class Own extends StockKMeans("own")
    val own = new Own

    assert(PySparkStages.replace(own) eq own)
    assert(PySparkStages.replace(new CrossValidator().setEstimator(own)).getEstimator eq own)
  }
}
