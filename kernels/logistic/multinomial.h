// Loss and gradient of a multinomial logistic regression (softmax), see binomial.h for how a slice goes through.
//
// Margins, loss and multipliers are double on rows of either type, so that the loss has no steps. The products of the
// gradient are double, too, except those of dense float32 rows where the host says so: then they are float in sums of
// SHORT rows, which are added up in double. That takes half the time, and over many rows the errors cancel.
// `width` is the number of classes, filled up to a multiple of LANES; `packed` and `bias` are as scores.h wants them. A
// work item has SCRATCH_LENGTH doubles of scratch: [ROWS][PITCH] for CHUNK features of a tile of float32 rows in double,
// then [BLOCK + ROWS][width] for a block's margins, which become multipliers, then, of float32 rows, [BLOCK][width] floats
// for these. A slice's partial is the gradient, [classes][stride] or, of sparse rows, [features][width]; then [width] sums
// of the multipliers, then the loss.
#define PITCH (CHUNK + 8)  // a line more: lines of rows a power of two apart push each other out of the cache
#define SCRATCH_LENGTH(width) (ROWS * PITCH + (BLOCK + ROWS + BLOCK / 2) * (long)(width))

#define PRODUCT double
#define PRODUCTV doublev
#define PRODUCT_LANES LANES
#define LOAD_ROW LOADW
#define ADD_SUMS ADDD
#include "products.h"
#undef PRODUCT
#undef PRODUCTV
#undef PRODUCT_LANES
#undef LOAD_ROW
#undef ADD_SUMS

#if !DOUBLE
#if VECTOR_BYTES == 64
typedef float16 floatv;
#define FLOATS 16
#else
typedef float8 floatv;
#define FLOATS 8
#endif

HELPER void add_floats(__global double *to, floatv sums)
{
    ADDD(to, WIDEN(sums.lo));
    ADDD(to + LANES, WIDEN(sums.hi));
}

#define PRODUCT float
#define PRODUCTV floatv
#define PRODUCT_LANES FLOATS
#define LOAD_ROW(p) (*(__global const floatv *)(p))
#define ADD_SUMS add_floats
#include "products.h"

// The same as add_products_in_double, but for the errors; `floats` [BLOCK][width] is for the multipliers.
HELPER void add_products_of_short_sums(
    __global const float *x, int stride, __global const double *multipliers, int width, int count, int classes,
    __global float *floats, __global double *gradient)
{
    for (long i = 0; i < (long)count * width; i += LANES)
        *(__global storedv *)(floats + i) = CONVERT(LOADD(multipliers + i), float);
    for (int r = 0; r < count; r += SHORT)
        add_products_in_float(
            x + (long)r * stride, stride, floats + (long)r * width, width, count - r < SHORT ? count - r : SHORT, classes,
            gradient);
}
#endif

// Makes a row's margins multipliers and returns its loss. Margins are taken relative to the largest one, so that nothing
// overflows; what the label's probability lacks to 1 is a sum without it, so that nothing cancels.
HELPER double softmax(__global double *margins, int width, int label, double weight)
{
    doublev largest = LOADD(margins);
    for (int c = LANES; c < width; c += LANES) {
        const doublev m = LOADD(margins + c);
        largest = m > largest ? m : largest;
    }
    const double top = largest_lane(largest);
    const double loss_of_label = top - margins[label];
    for (int c = 0; c < width; c += LANES)
        STOREV(margins + c, exponential(LOADD(margins + c) - top));
    const double of_label = margins[label];
    margins[label] = 0.0;
    doublev sums = (doublev)(0.0);
    for (int c = 0; c < width; c += LANES)
        sums += LOADD(margins + c);
    const double others = sum_lanes(sums);
    const double total = others + of_label;
    const double scale = weight / total;
    for (int c = 0; c < width; c += LANES)
        STOREV(margins + c, LOADD(margins + c) * scale);
    margins[label] = -scale * others;
    return weight * (log_of(total) + loss_of_label);
}

// Adds `count` features' part to the margins of ROWS rows for two blocks of LANES classes, whose coefficients are
// `block_length` apart.
HELPER void add_to_margins_of_two_blocks(
    __global const double *x, long pitch, int count, __global const double *packed, long block_length,
    __global double *margins, int width)
{
    doublev first[ROWS], second[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        first[r] = LOADD(margins + (long)r * width);
        second[r] = LOADD(margins + (long)r * width + LANES);
    }
    for (int j = 0; j < count; j++) {
        const doublev c = LOADD(packed + (long)j * LANES);
        const doublev d = LOADD(packed + block_length + (long)j * LANES);
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const doublev value = (doublev)(x[r * pitch + j]);
            first[r] = value * c + first[r];
            second[r] = value * d + second[r];
        }
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        STOREV(margins + (long)r * width, first[r]);
        STOREV(margins + (long)r * width + LANES, second[r]);
    }
}

// The same for one block.
HELPER void add_to_margins_of_block(
    __global const double *x, long pitch, int count, __global const double *packed, __global double *margins, int width)
{
    doublev sums[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        sums[r] = LOADD(margins + (long)r * width);
    for (int j = 0; j < count; j++) {
        const doublev c = LOADD(packed + (long)j * LANES);
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            sums[r] = (doublev)(x[r * pitch + j]) * c + sums[r];
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        STOREV(margins + (long)r * width, sums[r]);
}

// All classes' margins of ROWS rows, of CHUNK features at a time: these are made double once, not with each block, and
// stay in the first cache. `tile` is [ROWS][PITCH] for them.
HELPER void margins_of_tile(
    __global const stored *values, int stride, int steps, __global const double *packed, __global const double *bias,
    int width, __global double *tile, __global double *margins)
{
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < width; c += LANES)
            STOREV(margins + (long)r * width + c, LOADD(bias + c));
    for (int start = 0; start < steps; start += CHUNK) {
        const int count = steps - start < CHUNK ? steps - start : CHUNK;
#if DOUBLE
        __global const double *x = values + start;
        const long pitch = stride;
#else
        __global const double *x = tile;
        const long pitch = PITCH;
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < count; j += LANES) {
                STOREV(tile + r * PITCH + j, LOADW(values + (long)r * stride + start + j));
                PREFETCH(values + (long)(r + ROWS) * stride + start + j);
            }
#endif
        __global const double *coefficients = packed + (long)start * LANES;
        int c = 0;
        for (; c + 2 * LANES <= width; c += 2 * LANES)
            add_to_margins_of_two_blocks(
                x, pitch, count, coefficients + (long)c * steps, (long)steps * LANES, margins + c, width);
        if (c < width)
            add_to_margins_of_block(x, pitch, count, coefficients + (long)c * steps, margins + c, width);
    }
}

// Adds to `sums` [width] the multipliers of `count` rows.
HELPER void add_multipliers(__global const double *multipliers, int width, int count, __global double *sums)
{
    for (int c = 0; c < width; c += LANES) {
        doublev sum = (doublev)(0.0);
        for (int r = 0; r < count; r++)
            sum += LOADD(multipliers + (long)r * width + c);
        ADDD(sums + c, sum);
    }
}

INNER void multinomial_slice(
    int rows, int stride, int steps, int block, int short_sums, __global const stored *values, __global const int *labels,
    __global const double *weights, int classes, __global const double *packed, __global const double *bias,
    __global double *scratch, __global double *partial)
{
    const int width = (classes + LANES - 1) / LANES * LANES;
    __global double *multiplier_sums = partial + (long)classes * stride;
    __global double *tile = scratch;
    scratch += ROWS * PITCH;
    double loss = 0.0;
    for (int first = 0; first < rows; first += block) {
        const int count = rows - first < block ? rows - first : block;
        __global const stored *x = values + (long)first * stride;
        for (int r = 0; r < count; r += ROWS)
            margins_of_tile(x + (long)r * stride, stride, steps, packed, bias, width, tile, scratch + (long)r * width);
        for (int r = 0; r < count; r++)
            loss += softmax(
                scratch + (long)r * width, width, labels[first + r], weights ? weights[first + r] : 1.0);
        add_multipliers(scratch, width, count, multiplier_sums);
#if !DOUBLE
        if (short_sums) {
            __global float *floats = (__global float *)(scratch + (BLOCK + ROWS) * (long)width);
            add_products_of_short_sums(x, stride, scratch, width, count, classes, floats, partial);
            continue;
        }
#endif
        add_products_in_double(x, stride, scratch, width, count, classes, partial);
    }
    multiplier_sums[width] = loss;
}

INNER void multinomial_sparse_slice(
    int rows, int features, __global const stored *values, __global const int *indices, __global const long *pointers,
    __global const int *labels, __global const double *weights, int classes, __global const double *coefficients,
    __global const double *bias, __global double *margins, __global double *partial)
{
    const int width = (classes + LANES - 1) / LANES * LANES;
    __global double *multiplier_sums = partial + (long)features * width;
    double loss = 0.0;
    for (int r = 0; r < rows; r++) {
        const long start = pointers[r], stop = pointers[r + 1];
        int c = 0;
        for (; c + 4 * LANES <= width; c += 4 * LANES) {
            doublev found[4];
            sparse_scores_of_four_blocks(values, indices, start, stop, coefficients + c, width, bias + c, found);
            #pragma unroll
            for (int b = 0; b < 4; b++)
                STOREV(margins + c + b * LANES, found[b]);
        }
        for (; c < width; c += LANES)
            STOREV(margins + c, sparse_scores_of_block(values, indices, start, stop, coefficients + c, width, bias + c));
        loss += softmax(margins, width, labels[r], weights ? weights[r] : 1.0);
        for (c = 0; c < width; c += LANES) {
            const doublev multiplier = LOADD(margins + c);
            ADDD(multiplier_sums + c, multiplier);
            for (long i = start; i < stop; i++)
                ADDD(partial + (long)indices[i] * width + c, multiplier * (double)values[i]);
        }
    }
    multiplier_sums[width] = loss;
}

__global double *scratch_of_item(__global double *scratch, int classes)
{
    return scratch + get_global_id(0) * SCRATCH_LENGTH((classes + LANES - 1) / LANES * LANES);
}

// `block` (at most BLOCK) is how many rows are read twice in a row, `short_sums` whether the gradient of float32 rows is
// made of float products.
__kernel void multinomial(SLICE_PARAMETERS,
    int classes, __global const double *packed, __global const double *bias, int block, int short_sums,
    __global double *scratch)
{
    FOR_EACH_SLICE {
        multinomial_slice(
            SLICE_COUNT, stride, (features + 3) / 4 * 4, block, short_sums, values + SLICE_START * stride, FROM_START(labels),
            FROM_START(weights), classes, packed, bias, scratch_of_item(scratch, classes), SLICE_SUMS);
    }
}

__kernel void multinomial_sparse(SLICE_PARAMETERS,
    int classes, __global const double *coefficients, __global const double *bias, int block, int short_sums,
    __global double *scratch)
{
    FOR_EACH_SLICE {
        multinomial_sparse_slice(
            SLICE_COUNT, features, values, indices, FROM_START(pointers), FROM_START(labels), FROM_START(weights), classes,
            coefficients, bias, scratch_of_item(scratch, classes), SLICE_SUMS);
    }
}
