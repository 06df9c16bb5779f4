// For x86 processors with AVX512-VNNI.
#define TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
#define DOT(sums, inputs, weights) __builtin_ia32_vpdpbusd512(sums, inputs, weights)
#define DOT_SHORTS(sums, a, b) __builtin_ia32_vpdpwssd512(sums, a, b)
#include "x86.h"
