// What the x86 tiers compute with. Before it includes this, a tier defines
//   TARGET   the instruction sets that functions are compiled for, whatever the OpenCL compiler takes the processor for
//   DOT      (sums, inputs, weights) -> sums + the products of each word's four bytes, exactly
//   DOT_SHORTS  likewise, of words of two shorts
// The manifest defines LANES (words in a vector), VECTORS (2, in a panel of output channels), PIXELS (whose sums fill the
// registers) and PAIRS if DOT is exact only where two weights of equal signs, the first or the last two of a word, are at
// most so much together.
//
// Functions use operators, __builtin_convertvector and instructions rather than OpenCL's built-in functions on vectors,
// which are not compiled for TARGET.
#pragma OPENCL FP_CONTRACT OFF

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define INNER __attribute__((target(TARGET), noinline))
#define HELPER __attribute__((target(TARGET), always_inline))
#define PANEL (LANES * VECTORS)
#define BYTES (LANES * 4)

typedef JOIN(int, LANES) intv;
typedef JOIN(float, LANES) floatv;
typedef uchar bytev __attribute__((ext_vector_type(BYTES)));  // as many as two pixels have in a panel
typedef uchar panel_bytes __attribute__((ext_vector_type(PANEL)));
typedef short shortv __attribute__((ext_vector_type(PANEL)));
typedef intv __attribute__((aligned(4))) intv_unaligned;
typedef floatv __attribute__((aligned(4))) floatv_unaligned;
typedef bytev __attribute__((aligned(1))) bytev_unaligned;
typedef panel_bytes __attribute__((aligned(1))) panel_bytes_unaligned;
typedef shortv __attribute__((aligned(2))) shortv_unaligned;
typedef int __attribute__((aligned(1))) word_unaligned;

// A panel's outputs for one pixel: bytes in the order of channels, or two vectors of words. The instructions that turn one
// into the other take 4 words of each vector by turns; so vectors have channels 0 to 3, 8 to 11, ... and 4 to 7, 12 to 15,
// ...: the host packs them so.
#define PAIR(i) (i), (i) + PANEL
#define FOUR(i) PAIR(i), PAIR((i) + 1), PAIR((i) + 2), PAIR((i) + 3)
#if LANES == 16
#define EVERY_OTHER_FOUR(i) FOUR(i), FOUR((i) + 8), FOUR((i) + 16), FOUR((i) + 24)
#define ROUND(values) __builtin_ia32_cvtps2dq512_mask(values, (intv)(0), 65535, 4)
#define TO_SHORTS(low, high) __builtin_ia32_packssdw512(low, high)
#define TO_BYTES(low, high) __builtin_ia32_packuswb512(low, high)
#define EIGHTS_IN_ORDER(v) __builtin_shufflevector(v, v, 0, 2, 4, 6, 1, 3, 5, 7)
typedef long8 eights;
#else
#define EVERY_OTHER_FOUR(i) FOUR(i), FOUR((i) + 8)
#define ROUND(values) __builtin_ia32_cvtps2dq256(values)
#define TO_SHORTS(low, high) __builtin_ia32_packssdw256(low, high)
#define TO_BYTES(low, high) __builtin_ia32_packuswb256(low, high)
#define EIGHTS_IN_ORDER(v) __builtin_shufflevector(v, v, 0, 2, 1, 3)
typedef long4 eights;
#endif

// Words of two shorts each, of the first vector's shorts in the lower and the second's in the upper halves.
HELPER void interleave(shortv lower, shortv upper, intv *words)
{
    const shortv low = __builtin_shufflevector(lower, upper, EVERY_OTHER_FOUR(0));
    const shortv high = __builtin_shufflevector(lower, upper, EVERY_OTHER_FOUR(4));
    words[0] = *(const intv *)&low;
    words[1] = *(const intv *)&high;
}

HELPER void widen(panel_bytes bytes, intv *words)
{
    interleave(__builtin_convertvector(bytes, shortv), (shortv)(0), words);
}

// rint(total * multiplier) + zero_point, to be saturated. What is above 255 becomes 255 + zero_point, which saturates as
// well; what is too small for an integer, rounds to the least one.
HELPER shortv requantise(const intv *totals, const floatv *multiplier, shortv zero_point)
{
    intv rounded[VECTORS];
    #pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        const floatv value = __builtin_convertvector(totals[v], floatv) * multiplier[v];
        rounded[v] = ROUND(value < 255.0f ? value : (floatv)(255.0f));
    }
    return TO_SHORTS(rounded[0], rounded[1]) + zero_point;
}

// Two pixels' outputs as bytes, one behind the other.
HELPER bytev saturated(shortv first, shortv second)
{
    const eights bytes = __builtin_astype(TO_BYTES(first, second), eights);
    return __builtin_astype(EIGHTS_IN_ORDER(bytes), bytev);
}

#define STORE(type, values, to, count) \
    if ((count) >= (int)sizeof(values) / (int)sizeof(*(to))) \
        *(__global type *)(to) = values; \
    else \
        for (int i = 0; i < (count); i++) \
            (to)[i] = values[i];

HELPER void store_bytes(panel_bytes values, __global uchar *to, int count)
{
    STORE(panel_bytes_unaligned, values, to, count)
}

// Two pixels' bytes.
HELPER void store_pair(bytev values, __global uchar *first, __global uchar *second, int count)
{
    const panel_bytes *each = (const panel_bytes *)&values;
    store_bytes(each[0], first, count);
    store_bytes(each[1], second, count);
}

HELPER void store_more_bytes(bytev values, __global uchar *to, int count)
{
    STORE(bytev_unaligned, values, to, count)
}

HELPER void store_floats(floatv values, __global float *to, int count)
{
    STORE(floatv_unaligned, values, to, count)
}

// Bytes as shorts; reads and writes whole vectors.
HELPER void widen_all(__global short *to, __global const uchar *from, long count)
{
    for (long i = 0; i < count; i += PANEL) {
        const panel_bytes bytes = *(__global const panel_bytes_unaligned *)(from + i);
        *(__global shortv_unaligned *)(to + i) = __builtin_convertvector(bytes, shortv);
    }
}

// Copies so many bytes; reads and writes whole vectors.
HELPER void copy(__global uchar *to, __global const uchar *from, int count)
{
    for (int i = 0; i < count; i += BYTES)
        *(__global bytev_unaligned *)(to + i) = *(__global const bytev_unaligned *)(from + i);
}
