// For x86 processors with AVX2. Inputs are widened to 16 bits: the products of two fit in 32 bits, which those of
// `maddubs` on 8 bits do not.
#define TARGET "avx2,fma"
typedef short element;
#define DOT(sums, inputs, weights) ((sums) + as_int8(__builtin_ia32_pmaddwd256(as_short16(inputs), as_short16(weights))))
#define DOT_SHORTS DOT
#define COPIED 16
#define COPY(to, from) \
    *(__global short16_unaligned *)(to) = __builtin_convertvector(*(__global const uchar16_unaligned *)(from), short16)
typedef uchar16 __attribute__((aligned(1))) uchar16_unaligned;
typedef short16 __attribute__((aligned(2))) short16_unaligned;
#include "x86.h"
