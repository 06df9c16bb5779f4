// Scores of rows: their products with several sets of coefficients (centres, classes), each plus a bias.
//
// Lanes are sets. Dense: a tile of ROWS rows times one or two blocks of LANES sets stays in registers; coefficients are
// packed [block][feature][LANES], features filled up with zeros to a multiple of 4 (`steps` of them), and ROWS - 1
// rows behind the last one may be read. Sparse: coefficients lie as [feature][block][LANES].
// Sets beyond the last have no coefficients, and a bias below all scores.
// Loops over tiles are single ones: compilers keep the arrays of nested ones in memory. Meanwhile the next tile is
// fetched, a line of it at a time, or the next tile would begin by waiting for memory.
#define PREFETCH_NEXT_TILE(x, stride, j) PREFETCH((x) + ROWS * (stride) + (j) * 16)

// Of two sums a row, since in a sum each product waits for the one before. They are this function's own: `scores` might
// be memory that x or packed lie in.
HELPER void scores_of_block(
    __global const real *x, long stride, int steps, __global const real *packed, __global const real *bias,
    realv scores[ROWS])
{
    realv even[ROWS], odd[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        even[r] = LOADV(bias);
        odd[r] = (realv)(0);
    }
    for (int j = 0; j < steps; j += 2) {
        const realv c = LOADV(packed + (long)j * LANES);
        PREFETCH_NEXT_TILE(x, stride, j / 2);
        const realv d = LOADV(packed + (long)j * LANES + LANES);
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            even[r] = (realv)(x[r * stride + j]) * c + even[r];
            odd[r] = (realv)(x[r * stride + j + 1]) * d + odd[r];
        }
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        scores[r] = even[r] + odd[r];
}

HELPER void scores_of_two_blocks(
    __global const real *x, long stride, int steps, __global const real *packed, __global const real *bias,
    realv first[ROWS], realv second[ROWS])
{
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        first[r] = LOADV(bias);
        second[r] = LOADV(bias + LANES);
    }
    __global const real *packed_second = packed + (long)steps * LANES;
    for (int j = 0; j < steps; j++) {
        const realv c = LOADV(packed + (long)j * LANES);
        PREFETCH_NEXT_TILE(x, stride, j);
        const realv d = LOADV(packed_second + (long)j * LANES);
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const realv value = (realv)(x[r * stride + j]);
            first[r] = value * c + first[r];
            second[r] = value * d + second[r];
        }
    }
}

// One sparse row's scores for one block. `width` is the number of all sets, filled up to LANES.
HELPER realv sparse_scores_of_block(
    __global const stored *values, __global const int *indices, long start, long stop,
    __global const real *coefficients, long width, __global const real *bias)
{
    realv even = LOADV(bias), odd = (realv)(0);
    long i = start;
    for (; i + 2 <= stop; i += 2) {
        even = (realv)((real)values[i]) * LOADV(coefficients + indices[i] * width) + even;
        odd = (realv)((real)values[i + 1]) * LOADV(coefficients + indices[i + 1] * width) + odd;
    }
    if (i < stop)
        even = (realv)((real)values[i]) * LOADV(coefficients + indices[i] * width) + even;
    return even + odd;
}

// The same for four blocks.
HELPER void sparse_scores_of_four_blocks(
    __global const stored *values, __global const int *indices, long start, long stop,
    __global const real *coefficients, long width, __global const real *bias, realv sums[4])
{
    #pragma unroll
    for (int b = 0; b < 4; b++)
        sums[b] = LOADV(bias + b * LANES);
    for (long i = start; i < stop; i++) {
        __global const real *c = coefficients + indices[i] * width;
        const realv value = (realv)((real)values[i]);
        #pragma unroll
        for (int b = 0; b < 4; b++)
            sums[b] = value * LOADV(c + b * LANES) + sums[b];
    }
}
