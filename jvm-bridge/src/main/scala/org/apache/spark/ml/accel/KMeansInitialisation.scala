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
  * @param input
  *   the rows as they are given, which `rows` reads
  * @param normalized
  *   whether packed rows are scaled to length 1
  */
final private[accel] class KMeansInitialisation(
    data: PackedDataset,
    facts: DataFacts,
    k: Int,
    seed: Long,
    input: RDD[InternalRow],
    rows: Rows,
    normalized: Boolean
) {
  import KMeansInitialisation._

  private val drawn = new XORShiftRandom(seed).nextInt()

  /** Rows chosen at random; fewer than k if some are equal. */
  def random(): Array[Vector] = {
    val places = sample(k)
    distinct(places, packed(places)).map(_._1)
  }

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
    val candidates = distinct(places, centres)
    if (candidates.length <= k) candidates.map(_._1)
    else {
      val rows = nearestRows(groups.map(flat), centres.length)
      AccelKMeans.plusPlus(candidates.map(_._1), candidates.map(_._2.map(rows(_)).sum), k, LocalIterations)
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
    val totals = data.collect() { (_, packed) =>
      val nearest = NearestCentres.of(packed, centres)
      () => nearest().total
    }
    val total = totals.toSeq.sortBy(_._1).map(_._2).sum
    val found = data.collect() { (index, packed) =>
      val random = new XORShiftRandom(drawn ^ (step << 16) ^ index)
      val nearest = NearestCentres.of(packed, centres)
      () => {
        val costs = nearest().costs
        val rows = chosen(costs.length)(row => random.nextDouble() < 2.0 * costs(row) * k / total)
        vectors(packed, index, rows)
      }
    }
    found.toArray.sortBy(_._1).flatMap(_._2)
  }

  /** How many rows each of `count` centres is the nearest of. */
  private def nearestRows(centres: Seq[Array[Double]], count: Int): Array[Double] = {
    val scale = FixedPoint.scale(facts.rows.toDouble)
    val sums = data.sum()(NearestCentres.of(_, centres)) { (_, nearest) =>
      val (fixed, counts) = (new FixedPointSums(count), nearest.counts)
      counts.indices.foreach(centre => fixed.add(centre, counts(centre), scale))
      fixed
    }
    Array.tabulate(count)(sums(_, scale))
  }

  /** The rows at these places, as they are packed. */
  private def packed(places: Array[Place]): Array[Vector] = {
    val wanted = places.groupMap(_._1)(_._2)
    val rows = data.collect(wanted.keys)((index, packed) => () => vectors(packed, index, wanted(index)))
    places.map(rows.values.flatten.toMap)
  }

  /** Those of the rows at these places that differ, in their order, and which ones each of them stands for. Each partition
    * rounds what its own shift leaves of a row, so that what seems to differ by no more than that has to be looked at.
    */
  private def distinct(places: Array[Place], packed: Array[Vector]): Array[(Vector, Seq[Int])] = {
    val rounded = !data.float64 && someAlike(packed.map(_.toArray), facts.reach.map(_ * Rounding))
    val compared = if (normalized || rounded) asGiven(places) else packed
    val equal = compared.indices.groupBy(compared(_))
    compared.distinct.map { one =>
      val first = equal(one).head
      (if (normalized) one else packed(first), equal(one))
    }
  }

  /** The rows at these places, as they were given. */
  private def asGiven(places: Array[Place]): Array[Vector] = {
    val wanted = places.groupMap(_._1)(_._2).map { case (index, chosen) => index -> chosen.toSet }
    val rows = this.rows // not this object
    data.letGo()
    val found = input
      .mapPartitionsWithIndex { (index, all) =>
        val read = rows.features()
        wanted.get(index).iterator.flatMap { chosen =>
          all.zipWithIndex.filter(one => chosen(one._2)).map { case (row, number) =>
            val features = read(row).copy() // not null: it has been packed
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
  private val Rounding = math.scalb(1.0, -22) // of float32, twice and to spare

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

  /** Whether two points differ in no coordinate by more than `most`. */
  private def someAlike(points: Array[Array[Double]], most: Array[Double]): Boolean = {
    def alike(one: Array[Double], other: Array[Double]): Boolean = {
      var j = 0
      while (j < most.length && math.abs(one(j) - other(j)) <= most(j)) j += 1
      j == most.length
    }
    points.indices.exists(i => (0 until i).exists(j => alike(points(i), points(j))))
  }

  private def flat(centres: Array[(Place, Vector)]): Array[Double] = centres.flatMap(_._2.toArray)

  /** Rows of a partition as they are packed, with their places. */
  private def vectors(packed: PackedPartition, index: Int, rows: Iterable[Int]): Iterable[(Place, Vector)] =
    rows.map(row => ((index, row), Vectors.dense(packed.row(row))))
}
