// A panel: PANEL output channels of a convolution or of the dense layer, for as many pixels as one likes.
typedef struct {
    __global const intv *weights;  // [depth][VECTORS]
    __global const intv *bias;
    __global const floatv *multiplier;
    __global const intv *zero_point;
    __global const intv *residual_multiplier;
    __global const uchar *residual;  // of the panel's first channel at pixel 0, or null
    __global uchar *output;          // likewise
    __global float *logits;          // likewise; null where `output` is wanted
    int depth;                       // words of inputs
    int channels;                    // from one pixel to the next
    int stored;                      // those of the panel that there really are
} panel_t;

enum { BYTES_OUT, BYTES_OUT_WITH_RESIDUAL, LOGITS_OUT };

// What is done to all pixels' sums alike.
typedef struct {
    floatv multiplier[VECTORS];
    intv zero_point[VECTORS];
    intv residual_multiplier[VECTORS];
} finish_t;

HELPER finish_t finish_of(const panel_t *panel)
{
    finish_t finish;
    #pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        finish.multiplier[v] = panel->multiplier[v];
        finish.zero_point[v] = panel->zero_point[v];
        finish.residual_multiplier[v] = panel->residual_multiplier[v];
    }
    return finish;
}

// From a pixel's sums to what is stored. `kind` is known to the compiler.
HELPER void finish_pixel(const panel_t *panel, const finish_t *finish, const intv *sums, int pixel, int kind)
{
    const long at = (long)pixel * panel->channels;
    if (kind == LOGITS_OUT) {
        #pragma unroll
        for (int v = 0; v < VECTORS; v++) {
            const floatv logits = __builtin_convertvector(sums[v], floatv) * finish->multiplier[v];
            store_floats(logits, panel->logits + at + v * LANES, panel->stored - v * LANES);
        }
        return;
    }
    intv words[VECTORS];
    if (kind == BYTES_OUT_WITH_RESIDUAL) {
        widen(*(__global const panel_bytes_unaligned *)(panel->residual + at), words);
        #pragma unroll
        for (int v = 0; v < VECTORS; v++)
            words[v] = sums[v] + words[v] * finish->residual_multiplier[v];
    } else {
        #pragma unroll
        for (int v = 0; v < VECTORS; v++)
            words[v] = sums[v];
    }
    #pragma unroll
    for (int v = 0; v < VECTORS; v++)
        words[v] = requantise(words[v], finish->multiplier[v], finish->zero_point[v]);
    store_bytes(narrow_saturated(words), panel->output + at, panel->stored);
}
