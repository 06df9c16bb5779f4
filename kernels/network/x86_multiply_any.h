// For one kind of ELEMENTS, of which PRODUCTS adds up the products of a word; LISTED if the words of a panel are,
// RAW (or 0) if the sums of products are all that is wanted.
#define MULTIPLY JOIN(multiply_, ELEMENTS)
#define MULTIPLY_N(n) JOIN(JOIN(MULTIPLY, _), n)
#define N 1
#include "x86_multiply.h"
#define N 2
#include "x86_multiply.h"
#define N 3
#include "x86_multiply.h"
#define N 4
#include "x86_multiply.h"
#define N 5
#include "x86_multiply.h"
#define N 6
#include "x86_multiply.h"
#if PIXELS > 6
#define N 7
#include "x86_multiply.h"
#define N 8
#include "x86_multiply.h"
#define N 9
#include "x86_multiply.h"
#define N 10
#include "x86_multiply.h"
#define N 11
#include "x86_multiply.h"
#define N 12
#include "x86_multiply.h"
#define N 13
#include "x86_multiply.h"
#define N 14
#include "x86_multiply.h"
#endif

// multiply_ELEMENTS_1 to multiply_ELEMENTS_PIXELS by number.
HELPER void JOIN(MULTIPLY, _blocks)(
    const panel_t *panel, __global const uchar *windows, int pixel, int count, int blocks)
{
#define CASE(n) \
    case n: \
        MULTIPLY_N(n)(panel, windows, pixel, blocks); \
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
HELPER void MULTIPLY(const panel_t *panel, __global const uchar *windows, int pixel, int count)
{
    const int blocks = (count + PIXELS - 1) / PIXELS;
    const int size = (count + blocks - 1) / blocks;
    const int small_blocks = blocks * size - count;
    const int in_large = (blocks - small_blocks) * size;
    JOIN(MULTIPLY, _blocks)(panel, windows, pixel, size, blocks - small_blocks);
    JOIN(MULTIPLY, _blocks)(panel, windows + in_large * panel->stride, pixel + in_large, size - 1, small_blocks);
}
#undef MULTIPLY_N
#undef MULTIPLY
#undef RAW
#undef LISTED
#undef PRODUCTS
#undef ELEMENTS
