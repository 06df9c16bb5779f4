// The tier `fpga` of k-means, for dense float rows.
//
//   values --> rows --beats of a row, again for each group--> scores --verdicts--> distances --found--> sums
//                `------the row---------------------------------------------------^    `-----the row-----^
//
// The array (`scores`) makes VEC x LANES squared differences a cycle, in float, with centres that are sums of two floats:
// its rounding is relative to the distance, however far from zero the rows lie and however columns differ in scale.
// Where it could decide which centre is nearest, `distances` goes through all centres in double; else it makes the
// distance to the nearest one, in double, too.
#include "../estimators/fpga_rows.h"
#include "../estimators/fpga_replay.h"

typedef JOIN(float, LANES) lanes_t;
typedef union { lanes_t vector; float v[LANES]; } each_t;
typedef struct { lanes_t high[VEC], low[VEC]; } centres_t; // VEC features of LANES centres
// Distances that are no less than 0 are in the order of their bits, which are compared in a cycle.
typedef struct { uint least, second; int nearest; } winner_t;
typedef struct { int nearest, certain; } verdict_t;
typedef struct { double squared; int nearest; } found_t;

CHANNEL(verdict_t, verdicts, DEPTH);
CHANNEL(beat_t, added, DEPTH);
CHANNEL(found_t, found, DEPTH);

// `one` has the lower centres, which win where distances are the same.
inline winner_t winner_of(winner_t one, winner_t other)
{
    const bool first = one.least <= other.least;
    winner_t winner;
    winner.least = first ? one.least : other.least;
    winner.nearest = first ? one.nearest : other.nearest;
    winner.second = min(first ? other.least : one.least, first ? one.second : other.second);
    return winner;
}

// `given` [groups][beats]. A row's verdict is certain if the second nearest centre is farther by more than `rounding`
// times its distance and `tiny`, for what underflows.
STAGE void scores(int count, int beats, int groups, int k, __global const centres_t *restrict given, float rounding,
                  float tiny, __global ulong *restrict trips)
{
    __local centres_t centres[CENTRE_WORDS];
    const int words = groups * beats;
    for (int i = 0; i < words; i++)
        centres[i] = given[i];
    ulong counted = words;
    lanes_t ring[RING];
    winner_t winner;
    int beat = 0, group = 0, word = 0;
    const long total = (long)count * words;
    for (long i = 0; i < total; i++) {
        beat_t x;
        TAKE(repeated, x);
        const centres_t by = centres[word];
        lanes_t terms[TREE_SIZE(VEC)];
        #pragma unroll
        for (int v = 0; v < VEC; v++) {
            const lanes_t difference = ((lanes_t)(x.v[v]) - by.high[v]) - by.low[v];
            terms[v] = difference * difference;
        }
        TREE(terms, VEC);
        ADD_TO_RING(lanes_t, ring, RING, beat, terms[TREE_SIZE(VEC) - 1]);
        counted++;
        word++;
        if (++beat < beats)
            continue;
        each_t squared;
        SUM_OF_RING(lanes_t, ring, RING, beats, squared.vector);
        winner_t of[TREE_SIZE(LANES)];
        #pragma unroll
        for (int l = 0; l < LANES; l++) {
            const int set = group * LANES + l;
            of[l].least = set < k ? as_uint(squared.v[l]) : as_uint(INFINITY);
            of[l].second = as_uint(INFINITY);
            of[l].nearest = set;
        }
        #pragma unroll
        for (int l = 0; l < LANES - 1; l++)
            of[LANES + l] = winner_of(of[2 * l], of[2 * l + 1]);
        winner = group ? winner_of(winner, of[TREE_SIZE(LANES) - 1]) : of[TREE_SIZE(LANES) - 1];
        beat = 0;
        if (++group < groups)
            continue;
        group = word = 0;
        const float second = as_float(winner.second);
        verdict_t verdict;
        verdict.nearest = winner.nearest;
        verdict.certain = second - as_float(winner.least) > rounding * second + tiny;
        SEND(verdicts, verdict);
    }
    trips[0] = counted;
}

// `given` [k][beats]. With `by_row` the answers are `costs` and `nearest` [count]; else they, and the rows, are sent on.
STAGE void distances(int count, int beats, int k, __global const doubles_t *restrict given, int by_row,
                     __global double *restrict costs, __global int *restrict nearest, __global ulong *restrict trips)
{
    __local doubles_t centres[SUM_WORDS];
    __local beat_t row[BEATS];
    for (int i = 0; i < k * beats; i++)
        centres[i] = given[i];
    ulong counted = k * beats;
    for (int r = 0; r < count; r++) {
        verdict_t verdict;
        TAKE(verdicts, verdict);
        const int steps = verdict.certain ? beats : k * beats;
        int set = verdict.certain ? verdict.nearest : 0;
        int word = set * beats, beat = 0;
        double ring[DOUBLE_RING];
        found_t answer;
        ulong least = ULONG_MAX;
        answer.nearest = set;
        for (int i = 0; i < steps; i++) {
            beat_t x;
            if (i < beats) {
                TAKE(kept, x);
                row[beat] = x;
                if (!by_row)
                    SEND(added, x);
            } else {
                x = row[beat];
            }
            const doubles_t centre = centres[word];
            double terms[TREE_SIZE(VEC)];
            #pragma unroll
            for (int v = 0; v < VEC; v++) {
                const double difference = (double)x.v[v] - centre.v[v];
                terms[v] = difference * difference;
            }
            TREE(terms, VEC);
            ADD_TO_RING(double, ring, DOUBLE_RING, beat, terms[TREE_SIZE(VEC) - 1]);
            counted++;
            word++;
            if (++beat < beats)
                continue;
            double squared;
            SUM_OF_RING(double, ring, DOUBLE_RING, beats, squared);
            if (as_ulong(squared) < least) {
                least = as_ulong(squared);
                answer.nearest = set;
            }
            set++;
            beat = 0;
        }
        answer.squared = as_double(least);
        if (by_row) {
            costs[r] = answer.squared;
            nearest[r] = answer.nearest;
        } else {
            SEND(found, answer);
        }
    }
    trips[0] = counted;
}

// Of `copies` copies: `totals` [copies][k][beats] of weight x row x scale, `weight_totals` [copies][k]; `cost` {low,
// high} of weight x distance x cost_scale.
STAGE void sums(int count, int beats, int k, int copies, __global const double *restrict weights,
                __global const doubles_t *restrict scales, double weight_scale, double cost_scale,
                __global totals_t *restrict totals, __global long *restrict weight_totals,
                __global wide_t *restrict cost, __global ulong *restrict trips)
{
    __local totals_t sum[SUM_WORDS];
    __local long weight_sum[SUM_WORDS];
    __local doubles_t scale[BEATS];
    const int sets = copies * k, words = sets * beats;
    for (int i = 0; i < beats; i++)
        scale[i] = scales[i];
    for (int i = 0; i < words; i++) {
        #pragma unroll
        for (int v = 0; v < VEC; v++)
            sum[i].v[v] = 0;
        weight_sum[i] = 0;
    }
    ulong counted = beats + words;
    wide_t cost_sum = {0, 0};
    double weight = 0.0;
    int beat = 0, copy = 0, row = 0, word = 0;
    const long total = (long)count * beats;
    #pragma ivdep array(sum) safelen(COPIES)
    #pragma ivdep array(weight_sum) safelen(COPIES)
    for (long i = 0; i < total; i++) {
        if (beat == 0) {
            found_t of_row;
            TAKE(found, of_row);
            weight = weights ? weights[row] : 1.0;
            const int set = copy * k + of_row.nearest;
            word = set * beats;
            weight_sum[set] += fixed(weight * weight_scale);
            cost_sum = plus(cost_sum, weight * of_row.squared * cost_scale);
        }
        beat_t x;
        TAKE(added, x);
        const doubles_t by = scale[beat];
        totals_t now = sum[word];
        #pragma unroll
        for (int v = 0; v < VEC; v++)
            now.v[v] += fixed(weight * x.v[v] * by.v[v]);
        sum[word] = now;
        word++;
        counted++;
        if (++beat < beats)
            continue;
        beat = 0;
        row++;
        copy = copy == copies - 1 ? 0 : copy + 1;
    }
    for (int i = 0; i < words; i++)
        totals[i] = sum[i];
    for (int i = 0; i < sets; i++)
        weight_totals[i] = weight_sum[i];
    *cost = cost_sum;
    trips[0] = counted + words + sets;
}
