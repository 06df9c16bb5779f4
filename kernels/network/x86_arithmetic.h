// What the x86 tiers compute with. Before it includes this, a tier defines
//   TARGET   the instruction sets that functions are compiled for, whatever the OpenCL compiler takes the processor for
//   element  what inputs are multiplied as; GROUP of them fill a word of 32 bits
//   DOT      (sums, inputs, weights) -> sums + the products of each word's elements, exactly
//   COPIED   how many inputs COPY (to, from) copies as elements
// The manifest defines GROUP, LANES (words in a vector), VECTORS (2, in a panel of output channels), PIXELS (whose sums
// fill the registers) and GROUPS (of images that are under way at once).
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
typedef uchar bytev __attribute__((ext_vector_type(BYTES)));
typedef uchar panel_bytes __attribute__((ext_vector_type(PANEL)));
typedef short panel_shorts __attribute__((ext_vector_type(PANEL)));
typedef floatv __attribute__((aligned(4))) floatv_unaligned;
typedef bytev __attribute__((aligned(1))) bytev_unaligned;
typedef panel_bytes __attribute__((aligned(1))) panel_bytes_unaligned;
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
#else
#define EVERY_OTHER_FOUR(i) FOUR(i), FOUR((i) + 8)
#define ROUND(values) __builtin_ia32_cvtps2dq256(values)
#define TO_SHORTS(low, high) __builtin_ia32_packssdw256(low, high)
#endif

HELPER void widen(panel_bytes bytes, intv *words)
{
    const panel_shorts values = __builtin_convertvector(bytes, panel_shorts);
    const panel_shorts zeros = (panel_shorts)(0);
    const panel_shorts low = __builtin_shufflevector(values, zeros, EVERY_OTHER_FOUR(0));
    const panel_shorts high = __builtin_shufflevector(values, zeros, EVERY_OTHER_FOUR(4));
    words[0] = *(const intv *)&low;
    words[1] = *(const intv *)&high;
}

HELPER panel_bytes narrow_saturated(const intv *words)
{
    panel_shorts values = TO_SHORTS(words[0], words[1]);
    values = values > (short)0 ? values : (panel_shorts)(0);
    values = values < (short)255 ? values : (panel_shorts)(255);
    return __builtin_convertvector(values, panel_bytes);
}

// rint(total * multiplier) + zero_point, to be saturated. What is above 255 becomes 255 + zero_point, which saturates as
// well; what is too small for an integer, rounds to the least one.
HELPER intv requantise(intv total, floatv multiplier, intv zero_point)
{
    const floatv value = __builtin_convertvector(total, floatv) * multiplier;
    return ROUND(value < 255.0f ? value : (floatv)(255.0f)) + zero_point;
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

HELPER void store_more_bytes(bytev values, __global uchar *to, int count)
{
    STORE(bytev_unaligned, values, to, count)
}

HELPER void store_floats(floatv values, __global float *to, int count)
{
    STORE(floatv_unaligned, values, to, count)
}

// Copies `count` inputs as elements; reads and writes whole vectors.
HELPER void copy(__global element *to, __global const uchar *from, int count)
{
    for (int i = 0; i < count; i += COPIED)
        COPY(to + i, from + i);
}
