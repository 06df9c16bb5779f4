// multiply_1 to multiply_PIXELS by number.
HELPER void multiply(const panel_t *panel, __global const uchar *windows, long stride, int pixel, int count)
{
#define CASE(n) \
    case n: \
        JOIN(multiply_, n)(panel, windows, stride, pixel); \
        break;
    switch (count) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if PIXELS > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
#undef CASE
}
