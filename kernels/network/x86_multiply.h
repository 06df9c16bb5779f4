// multiply_ELEMENTS_N: the panel's outputs for `blocks` times N pixels, from `pixel` on, whose inputs start at `windows`.
// Included once for each N up to PIXELS, so that all sums stay in registers.
INNER void MULTIPLY_N(N)(const panel_t *of, __global const uchar *windows, int pixel, int blocks)
{
    const panel_t panel = *of;  // a copy of our own, which no store can change
    const finish_t finish = finish_of(&panel);
    for (int block = 0; block < blocks; block++) {
        intv sums[N][VECTORS];
        #pragma unroll
        for (int p = 0; p < N; p++)
            #pragma unroll
            for (int v = 0; v < VECTORS; v++)
                sums[p][v] = RAW ? (intv)(0) : panel.bias[v];

        if (panel.residual && !RAW)
            #pragma unroll
            for (int p = 0; p < N; p++)
                __builtin_prefetch(panel.residual + (long)(pixel + p) * panel.channels);

        __global const intv *weights = panel.weights;
#define ADD_PRODUCTS(k, inputs) \
    { \
        intv w[VECTORS]; \
        _Pragma("unroll") \
        for (int v = 0; v < VECTORS; v++) \
            w[v] = weights[(k) * VECTORS + v]; \
        _Pragma("unroll") \
        for (int p = 0; p < N; p++) { \
            const intv x = (intv)(*(__global const word_unaligned *)((inputs) + p * panel.stride)); \
            _Pragma("unroll") \
            for (int v = 0; v < VECTORS; v++) \
                sums[p][v] = PRODUCTS(sums[p][v], x, w[v]); \
        } \
    }
#ifdef LISTED
        for (long k = 0; k < panel.words; k++)
            ADD_PRODUCTS(k, windows + panel.offsets[k])
#else
        __global const uchar *row = windows;
        for (int y = 0; y < panel.rows; y++) {
            for (long k = 0; k < panel.row_words; k++)
                ADD_PRODUCTS(k, row + k * 4)
            weights += (long)panel.row_words * VECTORS;
            row += panel.row_bytes;
        }
#endif
#undef ADD_PRODUCTS

// Unrolled here: through a function that has the loop, sums would go by memory.
#define FINISH(residual) \
    _Pragma("unroll") \
    for (int p = 0; p + 1 < N; p += 2) \
        finish_two(&panel, &finish, pixel + p, residual, sums[p], sums[p + 1]); \
    if (N % 2) \
        finish_one(&panel, &finish, pixel + N - 1, residual, sums[N - 1])
        if (RAW)
            #pragma unroll
            for (int p = 0; p < N; p++)
                #pragma unroll
                for (int v = 0; v < VECTORS; v++)
                    panel.raw[(long)(pixel + p) * VECTORS + v] = sums[p][v];
        else if (panel.logits)
            #pragma unroll
            for (int p = 0; p < N; p++)
                finish_logits(&panel, &finish, pixel + p, sums[p]);
        else if (panel.residual) {
            FINISH(1);
        } else {
            FINISH(0);
        }
#undef FINISH
        windows += N * panel.stride;
        pixel += N;
    }
}
#undef N
