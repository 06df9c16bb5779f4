// The x86 tier: vectors of 64 bytes in functions compiled for AVX-512, whatever the OpenCL compiler takes the processor
// for.
#define AVX512 "avx512f,avx512bw,avx512vl,avx512dq,fma"
#define CONVERT(v, type) __builtin_convertvector(v, JOIN(type, LANES))
#define INNER __attribute__((target(AVX512), noinline))
#define HELPER __attribute__((target(AVX512), always_inline))
