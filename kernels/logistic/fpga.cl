// The tier `fpga` of logistic regression, for dense float rows. A binomial one comes as a multinomial one of two classes,
// the first with coefficients of 0: softmax of two is the logistic function.
//
//   values --> rows --beats of a row, again for each group--> margins --> multipliers --of each group--> gradient
//                `-------the row-------------------------------------------------------------------------^
//
// Margins, losses and multipliers (derivatives of the loss by the margins) are double, so that the loss has no steps.
#include "../estimators/fpga_rows.h"
#include "../estimators/fpga_replay.h"

typedef JOIN(double, LANES) lanes_t;
typedef struct { lanes_t v[VEC]; } coefficients_t; // VEC features of LANES classes
typedef union { lanes_t vector; double v[LANES]; } each_t;
typedef struct { double v[LANES]; } sets_t;
typedef struct { totals_t set[LANES]; } gradient_t;
typedef struct { long v[LANES]; } set_totals_t;

CHANNEL(sets_t, margins_of_sets, DEPTH);
CHANNEL(sets_t, multipliers_of_sets, DEPTH);

// `given` [groups][beats], `intercepts` [groups]; those of classes beyond the last are -infinity.
STAGE void margins(int count, int beats, int groups, __global const coefficients_t *restrict given,
                   __global const sets_t *restrict intercepts, __global ulong *restrict trips)
{
    __local coefficients_t coefficients[SUM_WORDS];
    __local sets_t intercept[SETS / LANES];
    const int words = groups * beats;
    for (int i = 0; i < words; i++)
        coefficients[i] = given[i];
    for (int i = 0; i < groups; i++)
        intercept[i] = intercepts[i];
    ulong counted = words + groups;
    lanes_t ring[RING];
    int beat = 0, group = 0, word = 0;
    const long total = (long)count * words;
    for (long i = 0; i < total; i++) {
        beat_t x;
        TAKE(repeated, x);
        const coefficients_t by = coefficients[word];
        lanes_t terms[TREE_SIZE(VEC)];
        #pragma unroll
        for (int v = 0; v < VEC; v++)
            terms[v] = (lanes_t)((double)x.v[v]) * by.v[v];
        TREE(terms, VEC);
        ADD_TO_RING(lanes_t, ring, RING, beat, terms[TREE_SIZE(VEC) - 1]);
        counted++;
        word++;
        if (++beat < beats)
            continue;
        each_t margin;
        SUM_OF_RING(lanes_t, ring, RING, beats, margin.vector);
        sets_t message;
        #pragma unroll
        for (int l = 0; l < LANES; l++)
            message.v[l] = margin.v[l] + intercept[group].v[l];
        SEND(margins_of_sets, message);
        beat = 0;
        if (++group == groups)
            group = word = 0;
    }
    trips[0] = counted;
}

// Margins are taken relative to the largest one, so that nothing overflows; what the label's probability lacks to 1 is
// a sum without it, so that nothing cancels. `loss` {low, high} of the rows' losses x loss_scale.
STAGE void multipliers(int count, int groups, __global const int *restrict labels,
                       __global const double *restrict weights, double loss_scale, __global wide_t *restrict loss,
                       __global ulong *restrict trips)
{
    __local double margin[SETS], exponential[SETS];
    wide_t loss_sum = {0, 0};
    ulong counted = 0;
    for (int row = 0; row < count; row++) {
        const int label = labels[row];
        const double weight = weights ? weights[row] : 1.0;
        double top = -INFINITY;
        for (int group = 0; group < groups; group++) {
            sets_t message;
            TAKE(margins_of_sets, message);
            #pragma unroll
            for (int l = 0; l < LANES; l++) {
                margin[group * LANES + l] = message.v[l];
                top = fmax(top, message.v[l]);
            }
            counted++;
        }
        double ring[RING];
        for (int set = 0; set < groups * LANES; set++) {
            const double found = exp(margin[set] - top);
            exponential[set] = found;
            ADD_TO_RING(double, ring, RING, set, set == label ? 0.0 : found);
            counted++;
        }
        double others;
        SUM_OF_RING(double, ring, RING, groups * LANES, others);
        const double of_label = exponential[label];
        const double scale = weight / (of_label + others);
        loss_sum = plus(loss_sum, weight * (log1p((of_label - 1.0) + others) + (top - margin[label])) * loss_scale);
        for (int group = 0; group < groups; group++) {
            sets_t message;
            #pragma unroll
            for (int l = 0; l < LANES; l++) {
                const int set = group * LANES + l;
                message.v[l] = set == label ? -scale * others : scale * exponential[set];
            }
            SEND(multipliers_of_sets, message);
            counted++;
        }
    }
    *loss = loss_sum;
    trips[0] = counted;
}

// Of `copies` copies: `totals` [copies][groups][beats] of multiplier x row x scale, `multiplier_totals` [copies][groups].
STAGE void gradient(int count, int beats, int groups, int copies, __global const doubles_t *restrict scales,
                    double multiplier_scale, __global gradient_t *restrict totals,
                    __global set_totals_t *restrict multiplier_totals, __global ulong *restrict trips)
{
    __local gradient_t sum[SUM_WORDS];
    __local set_totals_t multiplier_sum[SUM_WORDS];
    __local doubles_t scale[BEATS];
    __local beat_t row[BEATS];
    const int sets = copies * groups, words = sets * beats;
    for (int i = 0; i < beats; i++)
        scale[i] = scales[i];
    for (int i = 0; i < words; i++)
        #pragma unroll
        for (int l = 0; l < LANES; l++) {
            #pragma unroll
            for (int v = 0; v < VEC; v++)
                sum[i].set[l].v[v] = 0;
            multiplier_sum[i].v[l] = 0;
        }
    ulong counted = beats + words;
    sets_t by;
    int beat = 0, group = 0, copy = 0, word = 0, set = 0;
    const long total = (long)count * groups * beats;
    #pragma ivdep array(sum) safelen(COPIES)
    #pragma ivdep array(multiplier_sum) safelen(COPIES)
    for (long i = 0; i < total; i++) {
        if (beat == 0) {
            TAKE(multipliers_of_sets, by);
            set_totals_t now = multiplier_sum[set];
            #pragma unroll
            for (int l = 0; l < LANES; l++)
                now.v[l] += fixed(by.v[l] * multiplier_scale);
            multiplier_sum[set] = now;
        }
        beat_t x;
        if (group == 0) {
            TAKE(kept, x);
            row[beat] = x;
        } else {
            x = row[beat];
        }
        const doubles_t scaled_by = scale[beat];
        gradient_t now = sum[word];
        #pragma unroll
        for (int v = 0; v < VEC; v++) {
            const double scaled = (double)x.v[v] * scaled_by.v[v];
            #pragma unroll
            for (int l = 0; l < LANES; l++)
                now.set[l].v[v] += fixed(by.v[l] * scaled);
        }
        sum[word] = now;
        counted++;
        word++;
        if (++beat < beats)
            continue;
        beat = 0;
        set++;
        if (++group < groups)
            continue;
        group = 0;
        copy++;
        if (copy == copies)
            copy = word = set = 0;
    }
    for (int i = 0; i < words; i++)
        totals[i] = sum[i];
    for (int i = 0; i < sets; i++)
        multiplier_totals[i] = multiplier_sum[i];
    trips[0] = counted + words + sets;
}
