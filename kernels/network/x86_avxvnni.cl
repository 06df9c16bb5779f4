// For x86 processors with VNNI on vectors of 32 bytes, those without AVX-512.
#define TARGET "avx2,fma,avxvnni"
typedef uchar element;
#define DOT(sums, inputs, weights) __builtin_ia32_vpdpbusd256(sums, inputs, weights)
#define COPIED 32
#define COPY(to, from) *(__global bytev_unaligned *)(to) = *(__global const bytev_unaligned *)(from)
#include "x86_arithmetic.h"
#include "x86_panel.h"
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
#include "x86_multiply_any.h"
#include "x86_layers.h"
#include "x86_network.h"
