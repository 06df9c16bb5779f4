// For x86 processors with AVX512-VNNI.
#define TARGET "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
typedef uchar element;
#define DOT(sums, inputs, weights) __builtin_ia32_vpdpbusd512(sums, inputs, weights)
#define COPIED 64
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
#include "x86_multiply_any.h"
#include "x86_layers.h"
#include "x86_network.h"
