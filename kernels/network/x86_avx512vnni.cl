// For x86 processors with AVX512-VNNI.
#define TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
typedef uchar element;
#define DOT(sums, inputs, weights) __builtin_ia32_vpdpbusd512(sums, inputs, weights)
#define DOT_SHORTS(sums, a, b) __builtin_ia32_vpdpwssd512(sums, a, b)
#define COPIED 64
#define COPY(to, from) *(__global bytev_unaligned *)(to) = *(__global const bytev_unaligned *)(from)
#include "x86.h"
