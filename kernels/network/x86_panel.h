// A panel: PANEL output channels of a convolution or of the dense layer, for as many pixels as one likes.
typedef struct {
    __global const intv *weights;  // [rows][row_words][VECTORS], or [words][VECTORS] where they are LISTED
    __global const int *offsets;   // [words], of a window's bytes
    __global const intv *bias;
    __global const floatv *multiplier;
    __global const shortv *zero_point;
    __global const intv *residual_multiplier;  // its two parts, see `added_residual`
    __global const uchar *residual;            // of the panel's first channel at pixel 0, or null
    __global uchar *output;                    // likewise
    __global float *logits;                    // likewise; null where `output` is wanted
    __global intv_unaligned *raw;              // for the products' sums alone, [pixel][VECTORS], where they are RAW
    int words;                                 // that are listed
    int rows, row_words;                       // of inputs, where they are not
    long row_bytes, stride;                    // from one row of inputs to the next, from one pixel's to the next one's
    int channels;                              // from one pixel to the next
    int stored;                                // those of the panel that there really are
} panel_t;

// What is done to all pixels' sums alike.
typedef struct {
    floatv multiplier[VECTORS];
    shortv zero_point;
    intv residual_multiplier[VECTORS];
} finish_t;

HELPER finish_t finish_of(const panel_t *panel)
{
    finish_t finish;
    finish.zero_point = *panel->zero_point;
    #pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        finish.multiplier[v] = panel->multiplier[v];
        finish.residual_multiplier[v] = panel->residual_multiplier[v];
    }
    return finish;
}

HELPER void finish_logits(const panel_t *panel, const finish_t *finish, int pixel, const intv *sums)
{
    #pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        const floatv logits = __builtin_convertvector(sums[v], floatv) * finish->multiplier[v];
        store_floats(logits, panel->logits + (long)pixel * panel->channels + v * LANES, panel->stored - v * LANES);
    }
}

// sums + residual * residual_multiplier. A multiplier of up to 23 bits is the lower 7 and, times 128, the others, so that
// one instruction multiplies and adds.
HELPER void add_residual(const panel_t *panel, const finish_t *finish, int pixel, intv *sums)
{
    const panel_bytes bytes = *(__global const panel_bytes_unaligned *)(panel->residual + (long)pixel * panel->channels);
    const shortv residual = __builtin_convertvector(bytes, shortv);
    intv words[VECTORS];
    interleave(residual, residual << 7, words);
    #pragma unroll
    for (int v = 0; v < VECTORS; v++)
        sums[v] = DOT_SHORTS(sums[v], words[v], finish->residual_multiplier[v]);
}

// From a pixel's sums to its outputs, not saturated. `residual` is known to the compiler.
HELPER shortv finished(const panel_t *panel, const finish_t *finish, int pixel, int residual, intv *sums)
{
    if (residual)
        add_residual(panel, finish, pixel, sums);
    return requantise(sums, finish->multiplier, finish->zero_point);
}

// Stores the outputs of a pixel and the next one.
HELPER void finish_two(
    const panel_t *panel, const finish_t *finish, int pixel, int residual, intv *sums, intv *next_sums)
{
    const shortv first = finished(panel, finish, pixel, residual, sums);
    const shortv second = finished(panel, finish, pixel + 1, residual, next_sums);
    __global uchar *output = panel->output + (long)pixel * panel->channels;
    store_pair(saturated(first, second), output, output + panel->channels, panel->stored);
}

HELPER void finish_one(const panel_t *panel, const finish_t *finish, int pixel, int residual, intv *sums)
{
    const shortv values = finished(panel, finish, pixel, residual, sums);
    store_bytes(saturated(values, values).lo, panel->output + (long)pixel * panel->channels, panel->stored);
}
