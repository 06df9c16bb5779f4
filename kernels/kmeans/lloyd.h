// One step of Lloyd's algorithm, and squared distances to the nearest centre.
//
// Rows are dense, or CSR in the kernels `*_sparse`. The nearest centre has the largest score x.c - |c|^2 / 2. Where
// rounding could have decided between the two largest, distances to all centres decide. They are computed in double,
// from differences, which cancel nothing, save for the elements that a sparse row lacks: |c|^2 less those that it has.
// `centres` are doubles [k][stride], padded with zeros; `packed` and `bias` as scores.h wants them.
// A slice's partial is [k][stride] sums of weight x row, then [k] sums of weights, then the cost.

HELPER wholev lane_numbers(void)
{
#if LANES == 16
    return (wholev)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#elif LANES == 8
    return (wholev)(0, 1, 2, 3, 4, 5, 6, 7);
#else
    return (wholev)(0, 1, 2, 3);
#endif
}

// The best set of all lanes; -1 where its score is no sound number, or another's is as good but for `rounding`.
HELPER int best_set(realv best, realv second, wholev sets, real rounding)
{
    const real score = largest_lane(best);
    const int set = (int)smallest_lane(best == (realv)(score) ? sets : (wholev)(0x7fffffff));
    const real next = largest_lane(sets == (wholev)(set) ? second : best);
    return sound(score) && score - next > rounding ? set : -1;
}

// By lane, the best and the second best score so far, and the set that has the best.
HELPER void keep_best(realv score, whole block, realv *best, realv *second, wholev *sets)
{
    const wholev better = score > *best;
    const realv other = better ? *best : score;
    *second = other > *second ? other : *second;
    *best = better ? score : *best;
    *sets = better ? lane_numbers() + block * LANES : *sets;
}

#if IN_DOUBLE
#define HALF_UNIT 1.1102230246251565e-16  // in the last place of 1
#define TINY 1e-290  // from here down products lose digits
#else
#define HALF_UNIT 5.9604645e-8f
#define TINY 1e-30f
#endif

// What rounding can make of the difference of two scores. Each is a sum of `terms` products, of coefficients rounded
// once, and a bias; its terms add up to at most |x||c| + |c|^2 / 2 (Higham, Accuracy and Stability of Numerical
// Algorithms, 2nd ed., eq. 3.5), and 2|x||c| is at most |x|^2 + |c|^2.
HELPER real rounding_of_scores(long terms, real squared_norm, double largest_squared_norm)
{
    return (real)(terms + 4) * HALF_UNIT * (squared_norm + 2 * (real)largest_squared_norm) + TINY;
}

HELPER real squared_norm_of(__global const real *x, int stride)
{
    realv sum = (realv)(0);
    for (int j = 0; j < stride; j += LANES) {
        const realv value = LOADV(x + j);
        sum = value * value + sum;
    }
    return sum_reals(sum);
}

// The nearest of `blocks` * LANES centres for ROWS rows, -1 where it is not certain.
HELPER void nearest_of(
    __global const real *x, int stride, int steps, __global const real *packed, __global const real *bias, int blocks,
    double largest_squared_norm, int nearest[ROWS])
{
    realv best[ROWS], next[ROWS], first[ROWS], second[ROWS];
    wholev sets[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        best[r] = (realv)(-LIMIT);
        next[r] = (realv)(-LIMIT);
        sets[r] = (wholev)(0);
    }
    int block = 0;
    for (; block + 2 <= blocks; block += 2) {
        scores_of_two_blocks(
            x, stride, steps, packed + (long)block * steps * LANES, bias + block * LANES, first, second);
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            keep_best(first[r], block, &best[r], &next[r], &sets[r]);
            keep_best(second[r], block + 1, &best[r], &next[r], &sets[r]);
        }
    }
    if (block < blocks) {
        scores_of_block(x, stride, steps, packed + (long)block * steps * LANES, bias + block * LANES, first);
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            keep_best(first[r], block, &best[r], &next[r], &sets[r]);
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const real rounding = rounding_of_scores(
            steps, squared_norm_of(x + (long)r * stride, stride), largest_squared_norm);
        nearest[r] = best_set(best[r], next[r], sets[r], rounding);
    }
}

HELPER int nearest_of_sparse(
    __global const real *values, __global const int *indices, long start, long stop, __global const real *coefficients,
    __global const real *bias, int blocks, double largest_squared_norm)
{
    realv best = (realv)(-LIMIT), next = (realv)(-LIMIT);
    wholev sets = (wholev)(0);
    const int width = blocks * LANES;
    int block = 0;
    for (; block + 4 <= blocks; block += 4) {
        realv found[4];
        sparse_scores_of_four_blocks(
            values, indices, start, stop, coefficients + block * LANES, width, bias + block * LANES, found);
        #pragma unroll
        for (int b = 0; b < 4; b++)
            keep_best(found[b], block + b, &best, &next, &sets);
    }
    for (; block < blocks; block++)
        keep_best(
            sparse_scores_of_block(
                values, indices, start, stop, coefficients + block * LANES, width, bias + block * LANES),
            block, &best, &next, &sets);
    real squared_norm = 0;
    for (long i = start; i < stop; i++)
        squared_norm += values[i] * values[i];
    return best_set(best, next, sets, rounding_of_scores(stop - start, squared_norm, largest_squared_norm));
}

// |x - centre|^2 by lane; adds weight x row to `sums`.
HELPER doublev add_row(
    __global const real *x, __global const double *centre, double weight, int stride, __global double *sums)
{
    doublev squared = (doublev)(0.0);
    for (int j = 0; j < stride; j += LANES) {
        const doublev value = WIDEN(LOADV(x + j));
        const doublev difference = value - LOADD(centre + j);
        squared = difference * difference + squared;
        ADDD(sums + j, value * weight);
    }
    return squared;
}

HELPER double squared_distance(__global const real *x, __global const double *centre, int stride)
{
    doublev squared = (doublev)(0.0);
    for (int j = 0; j < stride; j += LANES) {
        const doublev difference = WIDEN(LOADV(x + j)) - LOADD(centre + j);
        squared = difference * difference + squared;
    }
    return sum_lanes(squared);
}

// Over the elements there are: (x - c)^2; over the others: |c|^2 less those elements' part of it.
HELPER double squared_distance_sparse(
    __global const real *values, __global const int *indices, long start, long stop, __global const double *centre,
    double squared_norm)
{
    double2 squared = (double2)(0.0), of_centre = (double2)(0.0);
    long i = start;
    for (; i + 2 <= stop; i += 2) {
        const double2 c = (double2)(centre[indices[i]], centre[indices[i + 1]]);
        const double2 difference = (double2)(values[i], values[i + 1]) - c;
        squared = difference * difference + squared;
        of_centre = c * c + of_centre;
    }
    if (i < stop) {
        const double c = centre[indices[i]];
        squared.x += (values[i] - c) * (values[i] - c);
        of_centre.x += c * c;
    }
    const double others = squared_norm - (of_centre.x + of_centre.y);
    // Of a centre that has overflowed inf - inf counts as 0, of one with a NaN all counts.
    return squared.x + squared.y + (others > 0.0 || isnan(squared_norm) ? others : 0.0);
}

// The nearest centre, lower index first, by distances.
HELPER int nearest_by_distances(__global const real *x, __global const double *centres, int stride, int k)
{
    int nearest = 0;
    double least = 0.0;
    for (int c = 0; c < k; c++) {
        const double squared = squared_distance(x, centres + (long)c * stride, stride);
        if (c == 0 || squared < least) {
            least = squared;
            nearest = c;
        }
    }
    return nearest;
}

HELPER int nearest_by_distances_sparse(
    __global const real *values, __global const int *indices, long start, long stop, __global const double *centres,
    __global const double *squared_norms, int stride, int k)
{
    int nearest = 0;
    double least = 0.0;
    for (int c = 0; c < k; c++) {
        const double squared = squared_distance_sparse(
            values, indices, start, stop, centres + (long)c * stride, squared_norms[c]);
        if (c == 0 || squared < least) {
            least = squared;
            nearest = c;
        }
    }
    return nearest;
}

INNER void lloyd_slice(
    int rows, int features, int stride, __global const real *values, __global const double *weights, int k,
    __global const double *centres, __global const real *packed, __global const real *bias, double largest_squared_norm,
    __global double *partial)
{
    const int steps = (features + 3) / 4 * 4;
    __global double *weight_sums = partial + (long)k * stride;
    doublev cost = (doublev)(0.0);
    int nearest[ROWS];
    for (int first = 0; first < rows; first += ROWS) {
        __global const real *x = values + (long)first * stride;
        nearest_of(x, stride, steps, packed, bias, (k + LANES - 1) / LANES, largest_squared_norm, nearest);
        const int count = rows - first < ROWS ? rows - first : ROWS;
        for (int r = 0; r < count; r++, x += stride) {
            const double weight = weights ? weights[first + r] : 1.0;
            if (weight == 0.0)
                continue;
            const int c = nearest[r] < 0 ? nearest_by_distances(x, centres, stride, k) : nearest[r];
            cost += weight * add_row(x, centres + (long)c * stride, weight, stride, partial + (long)c * stride);
            weight_sums[c] += weight;
        }
    }
    weight_sums[k] = sum_lanes(cost);
}

INNER void lloyd_sparse_slice(
    int rows, int stride, __global const real *values, __global const int *indices, __global const long *pointers,
    __global const double *weights, int k, __global const double *centres, __global const double *squared_norms,
    __global const real *coefficients, __global const real *bias, double largest_squared_norm, __global double *partial)
{
    __global double *weight_sums = partial + (long)k * stride;
    double cost = 0.0;
    for (int r = 0; r < rows; r++) {
        const double weight = weights ? weights[r] : 1.0;
        if (weight == 0.0)
            continue;
        const long start = pointers[r], stop = pointers[r + 1];
        int c = nearest_of_sparse(
            values, indices, start, stop, coefficients, bias, (k + LANES - 1) / LANES, largest_squared_norm);
        if (c < 0)
            c = nearest_by_distances_sparse(values, indices, start, stop, centres, squared_norms, stride, k);
        __global double *sums = partial + (long)c * stride;
        for (long i = start; i < stop; i++)
            sums[indices[i]] += weight * values[i];
        weight_sums[c] += weight;
        cost += weight * squared_distance_sparse(
            values, indices, start, stop, centres + (long)c * stride, squared_norms[c]);
    }
    weight_sums[k] = cost;
}

INNER void costs_slice(
    int rows, int features, int stride, __global const real *values, int k, __global const double *centres,
    __global const real *packed, __global const real *bias, double largest_squared_norm, __global double *costs,
    __global int *nearest_of_row)
{
    const int steps = (features + 3) / 4 * 4;
    int nearest[ROWS];
    for (int first = 0; first < rows; first += ROWS) {
        __global const real *x = values + (long)first * stride;
        nearest_of(x, stride, steps, packed, bias, (k + LANES - 1) / LANES, largest_squared_norm, nearest);
        const int count = rows - first < ROWS ? rows - first : ROWS;
        for (int r = 0; r < count; r++, x += stride) {
            const int c = nearest[r] < 0 ? nearest_by_distances(x, centres, stride, k) : nearest[r];
            costs[first + r] = squared_distance(x, centres + (long)c * stride, stride);
            nearest_of_row[first + r] = c;
        }
    }
}

INNER void costs_sparse_slice(
    int rows, int stride, __global const real *values, __global const int *indices, __global const long *pointers,
    int k, __global const double *centres, __global const double *squared_norms, __global const real *coefficients,
    __global const real *bias, double largest_squared_norm, __global double *costs, __global int *nearest_of_row)
{
    for (int r = 0; r < rows; r++) {
        const long start = pointers[r], stop = pointers[r + 1];
        int c = nearest_of_sparse(
            values, indices, start, stop, coefficients, bias, (k + LANES - 1) / LANES, largest_squared_norm);
        if (c < 0)
            c = nearest_by_distances_sparse(values, indices, start, stop, centres, squared_norms, stride, k);
        costs[r] = squared_distance_sparse(values, indices, start, stop, centres + (long)c * stride, squared_norms[c]);
        nearest_of_row[r] = c;
    }
}

__kernel void lloyd(SLICE_PARAMETERS,
    int k, __global const double *centres, __global const real *packed, __global const real *bias,
    double largest_squared_norm)
{
    FOR_EACH_SLICE {
        lloyd_slice(
            SLICE_COUNT, features, stride, values + SLICE_START * stride, FROM_START(weights), k, centres, packed, bias,
            largest_squared_norm, SLICE_SUMS);
    }
}

__kernel void lloyd_sparse(SLICE_PARAMETERS,
    int k, __global const double *centres, __global const real *coefficients, __global const real *bias,
    double largest_squared_norm, __global const double *squared_norms)
{
    FOR_EACH_SLICE {
        lloyd_sparse_slice(
            SLICE_COUNT, stride, values, indices, FROM_START(pointers), FROM_START(weights), k, centres, squared_norms,
            coefficients, bias, largest_squared_norm, SLICE_SUMS);
    }
}

// nearest[row] = index of the nearest centre, partials[row] = squared distance to it.
__kernel void costs(SLICE_PARAMETERS,
    int k, __global const double *centres, __global const real *packed, __global const real *bias,
    double largest_squared_norm, __global int *nearest)
{
    FOR_EACH_SLICE {
        costs_slice(
            SLICE_COUNT, features, stride, values + SLICE_START * stride, k, centres, packed, bias, largest_squared_norm,
            partials + SLICE_START, nearest + SLICE_START);
    }
}

__kernel void costs_sparse(SLICE_PARAMETERS,
    int k, __global const double *centres, __global const real *coefficients, __global const real *bias,
    double largest_squared_norm, __global const double *squared_norms, __global int *nearest)
{
    FOR_EACH_SLICE {
        costs_sparse_slice(
            SLICE_COUNT, stride, values, indices, FROM_START(pointers), k, centres, squared_norms, coefficients, bias,
            largest_squared_norm, partials + SLICE_START, nearest + SLICE_START);
    }
}
