// multiply_1 to multiply_PIXELS by number.
HELPER void multiply_blocks(
    const panel_t *panel, __global const uchar *windows, int pixel, int count, int blocks)
{
#define CASE(n) \
    case n: \
        JOIN(multiply_, n)(panel, windows, pixel, blocks); \
        break;
    switch (blocks ? count : 0) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if PIXELS > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14)
#endif
    }
#undef CASE
}

// The panel's outputs for `count` pixels, in blocks of as even a size as can be.
HELPER void multiply(const panel_t *panel, __global const uchar *windows, int pixel, int count)
{
    const int blocks = (count + PIXELS - 1) / PIXELS;
    const int size = (count + blocks - 1) / blocks;
    const int small_blocks = blocks * size - count;
    const int in_large = (blocks - small_blocks) * size;
    multiply_blocks(panel, windows, pixel, size, blocks - small_blocks);
    multiply_blocks(panel, windows + in_large * panel->stride, pixel + in_large, size - 1, small_blocks);
}
