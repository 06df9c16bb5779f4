// For x86 processors with AVX2. `vpmaddubsw` adds the products of two bytes in 16 bits, where those of two large weights
// don't fit: words are listed, so that no two such are side by side (`listed_words.py`), or bytes are widened.
#define TARGET "avx2,fma"
typedef char chars __attribute__((ext_vector_type(32)));
#define IN_SHORTS(inputs, weights) \
    __builtin_ia32_pmaddubsw256(__builtin_astype(inputs, chars), __builtin_astype(weights, chars))
#define DOT(sums, inputs, weights) DOT_SHORTS(sums, (short16)(1), IN_SHORTS(inputs, weights))
#define DOT_SHORTS(sums, a, b) ((sums) + as_int8(__builtin_ia32_pmaddwd256(as_short16(a), as_short16(b))))
#include "x86.h"
