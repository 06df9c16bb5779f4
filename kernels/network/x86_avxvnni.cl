// For x86 processors with VNNI on vectors of 32 bytes, those without AVX-512.
#define TARGET "avx2,fma,avxvnni"
#define DOT(sums, inputs, weights) __builtin_ia32_vpdpbusd256(sums, inputs, weights)
#define DOT_SHORTS(sums, a, b) __builtin_ia32_vpdpwssd256(sums, a, b)
#include "x86.h"
