// The types that the estimators' kernels compute in, for float32 and float64 data from one source.
//
// The host defines DOUBLE (0 or 1): whether the elements of rows are `stored` in double. They are computed with as
// `real`, which is the same type unless the manifest defines ALL_DOUBLE: then it is double for either data. The manifest
// also defines VECTOR_BYTES (32 or 64). A tier includes this after it has defined
//   INNER   attributes of a function that a kernel calls, HELPER of one that such functions inline
//   CONVERT (vector, type) -> the vector with elements of this type
// Kernels have no vectors in their own bodies, and functions use operators rather than built-in functions on vectors: so
// a tier may compile INNER functions for more than the OpenCL compiler knows of the processor.
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT ON

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

#if DOUBLE || ALL_DOUBLE
#define IN_DOUBLE 1
#else
#define IN_DOUBLE 0
#endif

// Elements of a vector; a number, since names are made of it.
#if VECTOR_BYTES == 64 && !IN_DOUBLE
#define LANES 16
#elif VECTOR_BYTES == 64 || !IN_DOUBLE
#define LANES 8
#else
#define LANES 4
#endif

#if DOUBLE
typedef double stored;
typedef JOIN(double, LANES) storedv;
#else
typedef float stored;
typedef JOIN(float, LANES) storedv;
#endif

#if IN_DOUBLE
typedef double real;
#define REAL4 double4
#define REAL2 double2
#define WHOLE4 long4
#define WHOLE2 long2
typedef long whole;  // an integer as wide as a real
typedef JOIN(double, LANES) realv;
typedef JOIN(long, LANES) wholev;
#define LIMIT 1e290  // what is larger has overflowed, or soon will: computed again with care
#else
typedef float real;
#define REAL8 float8
#define REAL4 float4
#define REAL2 float2
#define WHOLE8 int8
#define WHOLE4 int4
#define WHOLE2 int2
typedef int whole;
typedef JOIN(float, LANES) realv;
typedef JOIN(int, LANES) wholev;
#define LIMIT 1e30f
#endif
typedef JOIN(double, LANES) doublev;
#define WIDEN(v) CONVERT(v, double)  // realv to doublev

#define LOADV(p) (*(__global const realv *)(p))
#define STOREV(p, value) (*(__global realv *)(p) = (value))
#define LOADW(p) CONVERT(*(__global const storedv *)(p), double)  // elements of a row, in double
#define LOADD(p) (*(__global const doublev *)(p))
#define ADDD(p, value) (*(__global doublev *)(p) += (value))

#if defined(__x86_64__) && defined(__clang__)
#define PREFETCH(p) __builtin_prefetch((const void *)(size_t)(p), 0, 3)
#else
#define PREFETCH(p)
#endif

HELPER double sum_lanes(doublev v)
{
#if LANES == 16
    const double8 e = v.lo + v.hi;
    const double4 f = e.lo + e.hi;
#elif LANES == 8
    const double4 f = v.lo + v.hi;
#else
    const double4 f = v;
#endif
    const double2 t = f.lo + f.hi;
    return t.x + t.y;
}

HELPER real sum_reals(realv v)
{
#if IN_DOUBLE
    return sum_lanes(v);
#else
#if LANES == 16
    const float8 e = v.lo + v.hi;
    const float4 f = e.lo + e.hi;
#elif LANES == 8
    const float4 f = v.lo + v.hi;
#else
    const float4 f = v;
#endif
    const float2 t = f.lo + f.hi;
    return t.x + t.y;
#endif
}

// The one of two values, or vectors by lane, that is more, or less.
#define MORE(a, b) ((a) > (b) ? (a) : (b))
#define LESS(a, b) ((a) < (b) ? (a) : (b))

HELPER real largest_lane(realv v)
{
#if LANES == 16
    const REAL8 e = MORE(v.lo, v.hi);
    const REAL4 f = MORE(e.lo, e.hi);
#elif LANES == 8
    const REAL4 f = MORE(v.lo, v.hi);
#else
    const REAL4 f = v;
#endif
    const REAL2 t = MORE(f.lo, f.hi);
    return MORE(t.x, t.y);
}

HELPER whole smallest_lane(wholev v)
{
#if LANES == 16
    const WHOLE8 e = LESS(v.lo, v.hi);
    const WHOLE4 f = LESS(e.lo, e.hi);
#elif LANES == 8
    const WHOLE4 f = LESS(v.lo, v.hi);
#else
    const WHOLE4 f = v;
#endif
    const WHOLE2 t = LESS(f.lo, f.hi);
    return LESS(t.x, t.y);
}

// Whether it is a number no larger than LIMIT; false for NaN.
HELPER int sound(real value)
{
    return value < LIMIT && value > -LIMIT;
}
