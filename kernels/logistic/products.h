// A block's part of the gradient of several classes: products of multipliers and rows in one type, PRODUCT, added up in
// double. Included once for each type, after it has defined
//   PRODUCT       the type of the multipliers, of the products and of their sum over a block
//   PRODUCTV      a vector of them, with PRODUCT_LANES elements
//   LOAD_ROW      (pointer to elements of a row) -> PRODUCTV
//   ADD_SUMS      (pointer to the gradient, PRODUCTV): adds it there in double

// For the first `classes` of GROUP classes, two vectors of features at a time. Where a row has an odd number of vectors,
// the last pair's second one belongs to the next row, and is not added.
#define DEFINE_ADD_GROUP(GROUP) \
    HELPER void JOIN(add_group_of_##GROUP##_in_, PRODUCT)( \
        __global const stored *values, int stride, __global const PRODUCT *multipliers, int width, int count, \
        int classes, __global double *gradient) \
    { \
        for (int j = 0; j < stride; j += 2 * PRODUCT_LANES) { \
            __global const stored *x = values + j; \
            __global const PRODUCT *m = multipliers; \
            PRODUCTV first[GROUP], second[GROUP]; \
            _Pragma("unroll") \
            for (int c = 0; c < GROUP; c++) \
                first[c] = second[c] = (PRODUCTV)(0); \
            for (int r = 0; r < count; r++, x += stride, m += width) { \
                const PRODUCTV u = LOAD_ROW(x), v = LOAD_ROW(x + PRODUCT_LANES); \
                _Pragma("unroll") \
                for (int c = 0; c < GROUP; c++) { \
                    first[c] = (PRODUCTV)(m[c]) * u + first[c]; \
                    second[c] = (PRODUCTV)(m[c]) * v + second[c]; \
                } \
            } \
            _Pragma("unroll") \
            for (int c = 0; c < GROUP; c++) \
                if (c < classes) { \
                    ADD_SUMS(gradient + (long)c * stride + j, first[c]); \
                    if (j + PRODUCT_LANES < stride) \
                        ADD_SUMS(gradient + (long)c * stride + j + PRODUCT_LANES, second[c]); \
                } \
        } \
    }

DEFINE_ADD_GROUP(4)
#if WIDEST_GROUP == 12
DEFINE_ADD_GROUP(8)
DEFINE_ADD_GROUP(12)
#endif
#undef DEFINE_ADD_GROUP

HELPER void JOIN(add_products_in_, PRODUCT)(
    __global const stored *x, int stride, __global const PRODUCT *multipliers, int width, int count, int classes,
    __global double *gradient)
{
    for (int c = 0; c < classes; c += WIDEST_GROUP) {
        __global double *to = gradient + (long)c * stride;
        const int left = classes - c;
#if WIDEST_GROUP == 12
        if (left > 8)
            JOIN(add_group_of_12_in_, PRODUCT)(x, stride, multipliers + c, width, count, left, to);
        else if (left > 4)
            JOIN(add_group_of_8_in_, PRODUCT)(x, stride, multipliers + c, width, count, left, to);
        else
#endif
            JOIN(add_group_of_4_in_, PRODUCT)(x, stride, multipliers + c, width, count, left, to);
    }
}
