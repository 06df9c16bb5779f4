// multiply_N: the panel's outputs for `blocks` times N pixels, from `pixel` on. Their inputs start at `windows`, `stride`
// bytes apart. Included once for each N up to PIXELS, so that all sums stay in registers.
INNER void JOIN(multiply_, N)(const panel_t *of, __global const uchar *windows, long stride, int pixel, int blocks)
{
    const panel_t panel = *of;  // a copy of our own, which no store can change
    const finish_t finish = finish_of(&panel);
    for (int block = 0; block < blocks; block++) {
        intv sums[N][VECTORS];
        #pragma unroll
        for (int p = 0; p < N; p++)
            #pragma unroll
            for (int v = 0; v < VECTORS; v++)
                sums[p][v] = panel.bias[v];

        if (panel.residual)
            #pragma unroll
            for (int p = 0; p < N; p++)
                __builtin_prefetch(panel.residual + (long)(pixel + p) * panel.channels);

        __global const intv *weights = panel.weights;
        for (long k = 0; k < panel.depth; k++) {
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

#define FINISH(kind) \
    _Pragma("unroll") \
    for (int p = 0; p < N; p++) \
        finish_pixel(&panel, &finish, sums[p], pixel + p, kind)
        if (panel.logits)
            FINISH(LOGITS_OUT);
        else if (panel.residual)
            FINISH(BYTES_OUT_WITH_RESIDUAL);
        else
            FINISH(BYTES_OUT);
#undef FINISH
        windows += N * stride;
        pixel += N;
    }
}
#undef N
