package org.apache.spark.ml.accel

import org.sparkaccel.KernelCall

/** The nearest of some centres to each row of a packed partition, and the squared distance to it.
  *
  * Centres come in groups, and the nearest within a group is looked for first: whether groups come one by one, or all
  * at once to a partition that was packed again, makes no difference to the last bit.
  *
  * @param groups
  *   how many groups have come
  * @param centres
  *   how many centres those had
  */
final private[accel] class NearestCentres private (
    val groups: Int,
    centres: Int,
    indices: Array[Int],
    val costs: Array[Double]
) {

  /** Also of another group of `count` centres; of equally near ones the first counts. */
  private def and(rows: Int, count: Int, answer: KernelCall.Answer): NearestCentres = {
    val (nearest, least) = (new Array[Int](rows), new Array[Double](rows))
    answer.ints("nearest").get(nearest)
    answer("costs").get(least)
    var row = 0
    while (row < rows) {
      nearest(row) += centres
      if (centres > 0 && costs(row) <= least(row)) {
        nearest(row) = indices(row)
        least(row) = costs(row)
      }
      row += 1
    }
    new NearestCentres(groups + 1, centres + count, nearest, least)
  }

  /** The sum of the squared distances. */
  def total: Double = {
    var (sum, row) = (0.0, 0)
    while (row < costs.length) { sum += costs(row); row += 1 }
    sum
  }

  /** How many rows each centre is the nearest of. */
  def counts: Array[Int] = {
    val rows = new Array[Int](centres)
    var row = 0
    while (row < indices.length) { rows(indices(row)) += 1; row += 1 }
    rows
  }
}

private[accel] object NearestCentres {
  private val None = new NearestCentres(0, 0, Array.empty, Array.empty)

  /** Of groups of centres [n x features]; only of those is asked what the partition does not know yet. What this gives
    * waits for the answers.
    */
  def of(packed: PackedPartition, groups: Seq[Array[Double]]): () => NearestCentres = {
    val known = packed.nearest.filter(_.groups <= groups.size).getOrElse(None)
    val asked = groups.drop(known.groups).map { group =>
      group.length / packed.features -> packed.call("kmeans_costs")(_.doubles("centres", packed.shifted(group)))
    }
    () => {
      val found = asked.foldLeft(known) { case (nearest, (count, answer)) => nearest.and(packed.rows, count, answer()) }
      packed.nearest = Some(found)
      found
    }
  }
}
