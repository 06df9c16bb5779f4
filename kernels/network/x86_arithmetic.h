// What the x86 tiers compute with. Before it includes this, a tier defines
//   TARGET   the instruction sets that functions are compiled for, whatever the OpenCL compiler takes the processor for
//   element  what inputs are multiplied as; GROUP of them fill a word of 32 bits
//   DOT      (sums, inputs, weights) -> sums + the products of each word's elements, exactly
//   ROUND    (floats) -> integers, halves to even, the least integer for what is less
//   COPIED   how many inputs COPY (to, from) copies as elements
// The manifest defines GROUP, LANES (words in a vector), VECTORS (in a panel of output channels) and PIXELS (whose sums
// fill the registers).
//
// Functions use operators and __builtin_convertvector rather than OpenCL's built-in functions on vectors, which are not
// compiled for TARGET.
#pragma OPENCL FP_CONTRACT OFF

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define INNER __attribute__((target(TARGET), noinline))
#define HELPER __attribute__((target(TARGET), always_inline))
#define PANEL (LANES * VECTORS)

typedef JOIN(int, LANES) intv;
typedef JOIN(float, LANES) floatv;
typedef JOIN(uchar, LANES) ucharv;
typedef floatv __attribute__((aligned(4))) floatv_unaligned;
typedef ucharv __attribute__((aligned(1))) ucharv_unaligned;
typedef int __attribute__((aligned(1))) word_unaligned;

#define BYTES (LANES * 4)
typedef uchar bytev __attribute__((ext_vector_type(BYTES)));
typedef bytev __attribute__((aligned(1))) bytev_unaligned;

// saturate(rint(total * multiplier) + zero_point). What is larger than 255 saturates anyhow, and what is too small for an
// integer rounds to the least one.
HELPER ucharv requantise(intv total, floatv multiplier, intv zero_point)
{
    floatv value = __builtin_convertvector(total, floatv) * multiplier;
    value = value < 255.0f ? value : (floatv)(255.0f);
    intv whole = ROUND(value) + zero_point;
    whole = whole > 0 ? whole : (intv)(0);
    whole = whole < 255 ? whole : (intv)(255);
    return __builtin_convertvector(whole, ucharv);
}

HELPER void store_vector(bytev values, __global uchar *to, int count)
{
    if (count >= BYTES) {
        *(__global bytev_unaligned *)to = values;
    } else {
        for (int i = 0; i < count; i++)
            to[i] = values[i];
    }
}

HELPER void store_bytes(ucharv values, __global uchar *to, int count)
{
    if (count >= LANES) {
        *(__global ucharv_unaligned *)to = values;
    } else {
        for (int i = 0; i < count; i++)
            to[i] = values[i];
    }
}

HELPER void store_floats(floatv values, __global float *to, int count)
{
    if (count >= LANES) {
        *(__global floatv_unaligned *)to = values;
    } else {
        for (int i = 0; i < count; i++)
            to[i] = values[i];
    }
}

// Copies `count` inputs as elements; reads and writes whole vectors.
HELPER void copy(__global element *to, __global const uchar *from, int count)
{
    for (int i = 0; i < count; i += COPIED)
        COPY(to + i, from + i);
}
