// The tier `fpga` of naive Bayes, for dense float rows: one stage, which adds a beat a cycle.
#include "../estimators/fpga_rows.h"

// Of `copies` copies: `totals` [copies][classes][beats] of weight x row x scale, `square_totals` of weight x row squared
// x square_scale (null without), `weight_totals` [copies][classes].
STAGE void class_sums(int count, int beats, int classes, int copies, __global const beat_t *restrict values,
                      __global const int *restrict labels, __global const double *restrict weights,
                      __global const doubles_t *restrict scales, __global const doubles_t *restrict square_scales,
                      double weight_scale, __global totals_t *restrict totals, __global totals_t *restrict square_totals,
                      __global long *restrict weight_totals, __global ulong *restrict trips)
{
    __local totals_t sum[SUM_WORDS], square_sum[SUM_WORDS];
    __local long weight_sum[SUM_WORDS];
    __local doubles_t scale[BEATS], square_scale[BEATS];
    const int sets = copies * classes, words = sets * beats;
    for (int i = 0; i < beats; i++) {
        scale[i] = scales[i];
        square_scale[i] = square_scales[i];
    }
    for (int i = 0; i < words; i++) {
        #pragma unroll
        for (int v = 0; v < VEC; v++)
            sum[i].v[v] = square_sum[i].v[v] = 0;
        weight_sum[i] = 0;
    }
    ulong counted = beats + words;
    double weight = 0.0;
    int beat = 0, copy = 0, row = 0, word = 0;
    const long total = (long)count * beats;
    #pragma ivdep array(sum) safelen(COPIES)
    #pragma ivdep array(square_sum) safelen(COPIES)
    #pragma ivdep array(weight_sum) safelen(COPIES)
    for (long i = 0; i < total; i++) {
        if (beat == 0) {
            const int set = copy * classes + labels[row];
            weight = weights ? weights[row] : 1.0;
            word = set * beats;
            weight_sum[set] += fixed(weight * weight_scale);
        }
        const beat_t x = values[i];
        const doubles_t by = scale[beat], by_square = square_scale[beat];
        totals_t now = sum[word], squares = square_sum[word];
        #pragma unroll
        for (int v = 0; v < VEC; v++) {
            const double weighted = weight * x.v[v];
            now.v[v] += fixed(weighted * by.v[v]);
            if (square_totals)
                squares.v[v] += fixed(weighted * x.v[v] * by_square.v[v]);
        }
        sum[word] = now;
        square_sum[word] = squares;
        word++;
        counted++;
        if (++beat < beats)
            continue;
        beat = 0;
        row++;
        copy = copy == copies - 1 ? 0 : copy + 1;
    }
    for (int i = 0; i < words; i++) {
        totals[i] = sum[i];
        if (square_totals)
            square_totals[i] = square_sum[i];
    }
    for (int i = 0; i < sets; i++)
        weight_totals[i] = weight_sum[i];
    trips[0] = counted + words + sets;
}
