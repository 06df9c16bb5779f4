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

// From a pixel's sums to what is stored.
HELPER void finish(const panel_t *panel, const intv *sums, int pixel)
{
    const long at = (long)pixel * panel->channels;
    #pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        const int count = panel->stored - v * LANES;
        intv total = sums[v];
        if (panel->logits) {
            const floatv logits = __builtin_convertvector(total, floatv) * panel->multiplier[v];
            store_floats(logits, panel->logits + at + v * LANES, count);
            continue;
        }
        if (panel->residual) {
            const ucharv r = *(__global const ucharv_unaligned *)(panel->residual + at + v * LANES);
            total += __builtin_convertvector(r, intv) * panel->residual_multiplier[v];
        }
        const ucharv y = requantise(total, panel->multiplier[v], panel->zero_point[v]);
        store_bytes(y, panel->output + at + v * LANES, count);
    }
}
