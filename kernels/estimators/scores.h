// Scores of rows: their products with several sets of coefficients (centres, classes), each plus a bias.
//
// Lanes are sets. Dense: a tile of ROWS rows times BLOCKS blocks of LANES sets stays in registers; coefficients are
// packed [block][feature][LANES], features filled up with zeros to a multiple of 4 (`steps` of them), and ROWS - 1
// rows behind the last one may be read. Sparse: coefficients lie as [feature][block][LANES].
// Sets beyond the last have a bias of -LIMIT and no coefficients.

HELPER void scores(
    const int blocks, __global const real *x, long stride, int steps, __global const real *packed,
    __global const real *bias, realv out[ROWS][BLOCKS])
{
    realv sums[ROWS][BLOCKS];
    #pragma unroll
    for (int b = 0; b < blocks; b++)
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            sums[r][b] = LOADV(bias + b * LANES);
    for (int j = 0; j < steps; j += 4)
        #pragma unroll
        for (int i = 0; i < 4; i++) {
            realv c[BLOCKS];
            #pragma unroll
            for (int b = 0; b < blocks; b++)
                c[b] = LOADV(packed + ((long)b * steps + j + i) * LANES);
            #pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const realv value = (realv)(x[r * stride + j + i]);
                #pragma unroll
                for (int b = 0; b < blocks; b++)
                    sums[r][b] = value * c[b] + sums[r][b];
            }
        }
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int b = 0; b < blocks; b++)
            out[r][b] = sums[r][b];
}

// `blocks` blocks of one sparse row's scores; `width` is the number of all sets, filled up to LANES.
HELPER void sparse_scores(
    const int blocks, __global const real *values, __global const int *indices, long start, long stop,
    __global const real *coefficients, long width, __global const real *bias, realv out[BLOCKS])
{
    realv even[BLOCKS], odd[BLOCKS];
    #pragma unroll
    for (int b = 0; b < blocks; b++) {
        even[b] = LOADV(bias + b * LANES);
        odd[b] = (realv)(0);
    }
    long i = start;
    for (; i + 2 <= stop; i += 2) {
        __global const real *first = coefficients + indices[i] * width;
        __global const real *second = coefficients + indices[i + 1] * width;
        #pragma unroll
        for (int b = 0; b < blocks; b++) {
            even[b] = (realv)(values[i]) * LOADV(first + b * LANES) + even[b];
            odd[b] = (realv)(values[i + 1]) * LOADV(second + b * LANES) + odd[b];
        }
    }
    if (i < stop) {
        __global const real *first = coefficients + indices[i] * width;
        #pragma unroll
        for (int b = 0; b < blocks; b++)
            even[b] = (realv)(values[i]) * LOADV(first + b * LANES) + even[b];
    }
    #pragma unroll
    for (int b = 0; b < blocks; b++)
        out[b] = even[b] + odd[b];
}
