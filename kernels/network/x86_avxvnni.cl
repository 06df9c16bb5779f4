// For x86 processors with VNNI on vectors of 32 bytes, those without AVX-512.
#define TARGET "avx2,fma,avxvnni"
typedef uchar element;
#define DOT(sums, inputs, weights) __builtin_ia32_vpdpbusd256(sums, inputs, weights)
#define DOT_SHORTS(sums, a, b) __builtin_ia32_vpdpwssd256(sums, a, b)
#define COPIED 32
#define COPY(to, from) *(__global bytev_unaligned *)(to) = *(__global const bytev_unaligned *)(from)
#include "x86.h"
