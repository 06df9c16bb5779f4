// multiply_N: the panel's outputs for N pixels, `pixel` and those after it. Their inputs start at `windows`, `stride`
// bytes apart. Included once for each N up to PIXELS, so that all sums stay in registers.
INNER void JOIN(multiply_, N)(const panel_t *panel, __global const uchar *windows, long stride, int pixel)
{
    intv sums[N][VECTORS];
    #pragma unroll
    for (int p = 0; p < N; p++)
        #pragma unroll
        for (int v = 0; v < VECTORS; v++)
            sums[p][v] = panel->bias[v];

    __global const intv *weights = panel->weights;
    const long depth = panel->depth;
    for (long k = 0; k < depth; k++) {
        intv w[VECTORS];
        #pragma unroll
        for (int v = 0; v < VECTORS; v++)
            w[v] = weights[k * VECTORS + v];
        #pragma unroll
        for (int p = 0; p < N; p++) {
            const intv x = (intv)(*(__global const word_unaligned *)(windows + p * stride + k * 4));
            #pragma unroll
            for (int v = 0; v < VECTORS; v++)
                sums[p][v] = DOT(sums[p][v], x, w[v]);
        }
    }

    #pragma unroll
    for (int p = 0; p < N; p++)
        finish(panel, sums[p], pixel + p);
}
#undef N
