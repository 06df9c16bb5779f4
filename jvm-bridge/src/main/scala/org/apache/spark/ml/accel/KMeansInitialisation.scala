package org.apache.spark.ml.accel

import java.util.Random

import org.apache.spark.ml.linalg.{Vector, Vectors}
import org.apache.spark.mllib.clustering.AccelKMeans
import org.apache.spark.rdd.RDD
import org.apache.spark.sql.catalyst.InternalRow
import org.apache.spark.util.Utils
import org.apache.spark.util.random.{BernoulliSampler, SamplingUtils, XORShiftRandom}

/** The initial centres of k-means, by the same random choices that stock Spark makes for the same seed, rows and
  * partitions. Choices are made by row number, so that rows need not be read for them.
  *
  * @param original
  *   the rows as they were before they were normalised, for the cosine distance
  */
final private[accel] class KMeansInitialisation(
    data: PackedDataset,
    facts: DataFacts,
    k: Int,
    seed: Long,
    original: Option[(RDD[InternalRow], Rows)]
) {
  import KMeansInitialisation._

  private val drawn = new XORShiftRandom(seed).nextInt()

  /** Rows chosen at random; fewer than k if some are equal. */
  def random(): Array[Vector] = asGiven(sample(k)).distinct

  /** k-means|| (Bahmani et al., Scalable K-Means++, VLDB 2012): each step takes about 2k rows with a probability
    * proportional to their squared distance from the centres so far; k-means++ in the driver then makes k of them.
    */
  def parallel(steps: Int): Array[Vector] = {
    val first = sample(1)
    var groups = Seq(first.zip(packed(first)))
    for (step <- 0 until steps) {
      val chosen = choose(step, groups.map(flat))
      if (chosen.nonEmpty) groups :+= chosen
    }
    val (places, centres) = groups.flatten.toArray.unzip
    val candidates = (if (original.isDefined) asGiven(places) else centres).zipWithIndex.distinctBy(_._1)
    if (candidates.length <= k) candidates.map(_._1)
    else {
      val rows = nearestRows(groups.map(flat), centres.length)
      AccelKMeans.plusPlus(candidates.map(_._1), candidates.map(one => rows(one._2)), k, LocalIterations)
    }
  }

  /** What RDD.takeSample would take of the rows, in its order: it never looks at them, so that no job is needed. */
  private def sample(count: Int): Array[Place] = {
    val random = new Random(drawn)
    val wanted = math.min(count.toLong, facts.rows).toInt
    if (wanted == facts.rows) shuffled(everywhere.toArray, random)
    else {
      val fraction = SamplingUtils.computeFractionForSampleSize(wanted, facts.rows, withReplacement = false)
      var taken = bernoulli(fraction, random.nextInt())
      while (taken.length < wanted) taken = bernoulli(fraction, random.nextInt())
      shuffled(taken, random).take(wanted)
    }
  }

  private def everywhere: Iterator[Place] = facts.rowsByPartition.toSeq.sorted.iterator.flatMap { case (index, rows) =>
    (0 until rows).iterator.map((index, _))
  }

  /** As RDD.sample: each partition, empty ones too, has a sampler with a seed of its own. */
  private def bernoulli(fraction: Double, seed: Int): Array[Place] = {
    val seeds = new Random(seed.toLong)
    val sampler = new BernoulliSampler[Place](fraction)
    (0 until data.partitions).toArray.flatMap { index =>
      val own = sampler.clone
      own.setSeed(seeds.nextLong())
      chosen(facts.rowsByPartition.getOrElse(index, 0))(_ => own.sample() > 0).map((index, _))
    }
  }

  private def shuffled(places: Array[Place], random: Random): Array[Place] = {
    Utils.randomizeInPlace(places, random)
    places
  }

  /** Rows with their places, each taken with a probability proportional to its cost. */
  private def choose(step: Int, centres: Seq[Array[Double]]): Array[(Place, Vector)] = {
    val (drawn, k) = (this.drawn, this.k) // not this object
    val total = data.collect()((_, packed) => NearestCentres.of(packed, centres).total).toSeq.sortBy(_._1).map(_._2).sum
    val found = data.collect() { (index, packed) =>
      val random = new XORShiftRandom(drawn ^ (step << 16) ^ index)
      val costs = NearestCentres.of(packed, centres).costs
      val rows = chosen(costs.length)(row => random.nextDouble() < 2.0 * costs(row) * k / total)
      vectors(packed, index, rows)
    }
    found.toArray.sortBy(_._1).flatMap(_._2)
  }

  /** How many rows each of `count` centres is the nearest of. */
  private def nearestRows(centres: Seq[Array[Double]], count: Int): Array[Double] = {
    val scale = FixedPoint.scale(facts.rows.toDouble)
    val sums = data.sum()(NearestCentres.of(_, centres).counts) { (_, counts) =>
      val fixed = new FixedPointSums(count)
      counts.indices.foreach(centre => fixed.add(centre, counts(centre), scale))
      fixed
    }
    Array.tabulate(count)(sums(_, scale))
  }

  /** The rows at these places, as they are packed. */
  private def packed(places: Array[Place]): Array[Vector] = {
    val wanted = places.groupMap(_._1)(_._2)
    val rows = data.collect(wanted.keys)((index, packed) => vectors(packed, index, wanted(index)))
    places.map(rows.values.flatten.toMap)
  }

  /** The rows at these places, as they were given. */
  private def asGiven(places: Array[Place]): Array[Vector] = original.fold(packed(places)) { case (input, rows) =>
    val wanted = places.groupMap(_._1)(_._2).map { case (index, chosen) => index -> chosen.toSet }
    data.letGo()
    val found = input
      .mapPartitionsWithIndex { (index, all) =>
        wanted.get(index).iterator.flatMap { chosen =>
          all.zipWithIndex.filter(one => chosen(one._2)).map { case (row, number) =>
            val features = rows.features(row).get // packed, so it has been looked at
            ((index, number), Vectors.dense(PartitionPacker.densified(features, features.size)))
          }
        }
      }
      .collect()
      .toMap
    places.map(found)
  }
}

private object KMeansInitialisation {
  private type Place = (Int, Int) // partition, row in it
  private val LocalIterations = 30 // as stock Spark

  /** The numbers below `rows` that `take` takes, asked one after the other. */
  private def chosen(rows: Int)(take: Int => Boolean): Array[Int] = {
    val taken = Array.newBuilder[Int]
    var row = 0
    while (row < rows) {
      if (take(row)) taken += row
      row += 1
    }
    taken.result()
  }

  private def flat(centres: Array[(Place, Vector)]): Array[Double] = centres.flatMap(_._2.toArray)

  /** Rows of a partition as they are packed, with their places. */
  private def vectors(packed: PackedPartition, index: Int, rows: Iterable[Int]): Iterable[(Place, Vector)] =
    rows.map(row => ((index, row), Vectors.dense(packed.row(row))))
}
