// The types that the estimators' kernels compute in, for float32 and float64 data from one source.
//
// The host defines DOUBLE (0 or 1), the manifest VECTOR_BYTES (32 or 64). A tier includes this after it has defined
//   INNER   attributes of a function that a kernel calls, HELPER of one that such functions inline
//   CONVERT (vector, type) -> the vector with elements of this type
// Kernels have no vectors in their own bodies, and functions use operators rather than built-in functions on vectors: so
// a tier may compile INNER functions for more than the OpenCL compiler knows of the processor.
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT ON

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

// Elements of a vector; a number, since names are made of it.
#if VECTOR_BYTES == 64 && !DOUBLE
#define LANES 16
#elif VECTOR_BYTES == 64 || !DOUBLE
#define LANES 8
#else
#define LANES 4
#endif

#if DOUBLE
typedef double real;
#define REAL4 double4
#define REAL2 double2
#define WHOLE4 long4
#define WHOLE2 long2
typedef long whole;  // an integer as wide as a real
typedef JOIN(double, LANES) realv;
typedef JOIN(long, LANES) wholev;
#define AS_REALV JOIN(as_double, LANES)
#define AS_WHOLEV JOIN(as_long, LANES)
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
#define AS_REALV JOIN(as_float, LANES)
#define AS_WHOLEV JOIN(as_int, LANES)
#define LIMIT 1e30f
#endif
typedef JOIN(double, LANES) doublev;
#define WIDEN(v) CONVERT(v, double)  // realv to doublev

#define LOADV(p) (*(__global const realv *)(p))
#define STOREV(p, value) (*(__global realv *)(p) = (value))
#define LOADD(p) (*(__global const doublev *)(p))
#define ADDD(p, value) (*(__global doublev *)(p) += (value))

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
#if DOUBLE
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

HELPER real largest_lane(const realv v)
{
    real found = v[0];
    #pragma unroll
    for (int i = 1; i < LANES; i++)
        found = v[i] > found ? v[i] : found;
    return found;
}

// Whether it is a number no larger than LIMIT; false for NaN.
HELPER int sound(real value)
{
    return value < LIMIT && value > -LIMIT;
}
