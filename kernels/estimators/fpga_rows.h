// What the estimators' tiers `fpga` share: rows in beats, fixed-point sums, partial sums in rings. Described in
// docs/fpga-engine.md; the host's side is spark_accel/daemon/fpga_*.py.
//
// A beat is VEC features of a row; a row of FEATURES features at most goes in `beats` of them. LANES centres or classes
// ("sets") share a beat; they are a group.
//
// Sums are 64-bit integers: an addition takes a cycle, and their order does not matter. The host chooses a power of two
// for each feature so that no sum reaches 2^62 (spark_accel/fpga/fixed_point.py). A sum of on-chip memory is read and
// written again some cycles later: no address comes again within COPIES iterations, since short rows are added to
// several copies of the sums in turn, which the host adds up.
#include "../fpga/vendor.h"
#pragma OPENCL EXTENSION cl_khr_fp64 : enable

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

// spark_accel/fpga/macros.py knows the same of binaries. A beat must not straddle rows, nor a row end within one.
#if 16 % VEC
#error VEC must divide 16, a multiple of which rows are filled up to
#endif
#define BEATS (FEATURES / VEC)

typedef struct { float v[VEC]; } beat_t;
typedef struct { double v[VEC]; } doubles_t; // of the features of a beat
typedef struct { long v[VEC]; } totals_t;

// Adds up a[0] to a[N - 1], N a power of two, as a tree; the sum is in a[2 * N - 2], the last of its elements.
#define TREE(a, N) \
    _Pragma("unroll") \
    for (int node = 0; node < (N) - 1; node++) \
        (a)[(N) + node] = (a)[2 * node] + (a)[2 * node + 1]
#define TREE_SIZE(N) (2 * (N) - 1)

// A sum of terms that come one a cycle, though an addition takes several: N partial sums in a shift register, each of
// which gets every Nth term. `number` is the term's, from 0 on: the first N terms replace what was there.
#define ADD_TO_RING(TYPE, ring, N, number, term) \
    do { \
        TYPE added_up = (term); \
        if ((number) >= (N)) \
            added_up += (ring)[(N) - 1]; \
        _Pragma("unroll") \
        for (int t = (N) - 1; t > 0; t--) \
            (ring)[t] = (ring)[t - 1]; \
        (ring)[0] = added_up; \
    } while (0)

// sum = all partial sums, after `count` terms.
#define SUM_OF_RING(TYPE, ring, N, count, sum) \
    do { \
        TYPE parts[TREE_SIZE(N)]; \
        _Pragma("unroll") \
        for (int t = 0; t < (N); t++) \
            parts[t] = t < (count) ? (ring)[t] : (TYPE)(0); \
        TREE(parts, N); \
        (sum) = parts[TREE_SIZE(N) - 1]; \
    } while (0)

inline long fixed(double scaled)
{
    return (long)rint(scaled);
}

// An integer of 128 bits, from 0 on, for sums whose largest possible value is far above the likely one.
typedef struct { ulong low, high; } wide_t;

// `scaled` is from 0 to 2^126.
inline wide_t plus(wide_t sum, double scaled)
{
    const double high = floor(scaled * 0x1p-64);
    const ulong low = (ulong)(scaled - high * 0x1p64);
    wide_t result;
    result.low = sum.low + low;
    result.high = sum.high + (ulong)high + (result.low < low);
    return result;
}
