package org.apache.spark.ml.accel

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

  /** Also of another group of centres, [n x features]; of equally near ones the first counts. */
  private def and(packed: PackedPartition, group: Array[Double]): NearestCentres = {
    val answer = packed.call("kmeans_costs")(_.doubles("centres", packed.shifted(group)))
    val (nearest, least) = (new Array[Int](packed.rows), new Array[Double](packed.rows))
    answer.ints("nearest").get(nearest)
    answer("costs").get(least)
    var row = 0
    while (row < packed.rows) {
      nearest(row) += centres
      if (centres > 0 && costs(row) <= least(row)) {
        nearest(row) = indices(row)
        least(row) = costs(row)
      }
      row += 1
    }
    new NearestCentres(groups + 1, centres + group.length / packed.features, nearest, least)
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

  /** Of groups of centres [n x features]; only of those is computed what the partition does not know yet. */
  def of(packed: PackedPartition, groups: Seq[Array[Double]]): NearestCentres = {
    val known = packed.nearest.filter(_.groups <= groups.size).getOrElse(None)
    val found = groups.drop(known.groups).foldLeft(known)(_.and(packed, _))
    packed.nearest = Some(found)
    found
  }
}
