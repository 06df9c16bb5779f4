// The multinomial kernels. `width` is the number of classes, filled up to a multiple of LANES; `packed` and `bias` are
// as scores.h wants them. A work item has `scratch` [BLOCK + ROWS][width] for a block's margins, which become
// multipliers. A slice's partial is the gradient, [classes][stride] or, of sparse rows, [features][width]; then [width]
// sums of the multipliers, then the loss.

// Makes a row's margins multipliers and returns its loss. Margins are taken relative to the largest one, so that nothing
// overflows; what the label's probability lacks to 1 is computed in double, so that little cancels.
HELPER double softmax(__global real *margins, int width, int label, double weight)
{
    realv largest = LOADV(margins);
    for (int c = LANES; c < width; c += LANES) {
        const realv m = LOADV(margins + c);
        largest = m > largest ? m : largest;
    }
    const real top = largest_lane(largest);
    const double loss_of_label = (double)top - margins[label];
    doublev sums = (doublev)(0.0);
    for (int c = 0; c < width; c += LANES) {
        const realv e = exponential(LOADV(margins + c) - top);
        STOREV(margins + c, e);
        sums += WIDEN(e);
    }
    const double total = sum_lanes(sums);
    const double others = total - margins[label];
    const real scale = (real)(weight / total);
    for (int c = 0; c < width; c += LANES)
        STOREV(margins + c, LOADV(margins + c) * scale);
    margins[label] = (real)(-weight * (others / total));
    return weight * (log_of(total) + loss_of_label);
}

// Whether a margin has overflowed; those behind the last class are -LIMIT.
HELPER int unsound(__global const real *margins, int width)
{
    wholev bad = (wholev)(0);
    for (int c = 0; c < width; c += LANES) {
        const realv m = LOADV(margins + c);
        bad |= ~(m <= (realv)(LIMIT) & m >= (realv)(-LIMIT));
    }
    whole any = 0;
    #pragma unroll
    for (int i = 0; i < LANES; i++)
        any |= bad[i];
    return any != 0;
}

// Margins relative to the largest one, from these in double; returns what the loss lacks, see FAR.
HELPER double bring_near(__global real *margins, double margin, double top, int c, int label, double weight)
{
    const double relative = margin - top;
    margins[c] = relative < -FAR ? (real)-FAR : (real)relative;
    return c == label && relative < -FAR ? weight * (-relative - FAR) : 0.0;
}

HELPER double compute_again(
    __global real *margins, __global const real *x, int features, __global const double *exact,
    __global const double *intercepts, int classes, int label, double weight)
{
    double top = exact_margin(x, features, exact, intercepts[0]);
    for (int c = 1; c < classes; c++) {
        const double margin = exact_margin(x, features, exact + (long)c * features, intercepts[c]);
        top = margin > top ? margin : top;
    }
    double loss = 0.0;
    for (int c = 0; c < classes; c++)
        loss += bring_near(
            margins, exact_margin(x, features, exact + (long)c * features, intercepts[c]), top, c, label, weight);
    return loss;
}

HELPER double compute_again_sparse(
    __global real *margins, __global const real *values, __global const int *indices, long start, long stop,
    int features, __global const double *exact, __global const double *intercepts, int classes, int label, double weight)
{
    double top = exact_margin_sparse(values, indices, start, stop, exact, intercepts[0]);
    for (int c = 1; c < classes; c++) {
        const double margin = exact_margin_sparse(
            values, indices, start, stop, exact + (long)c * features, intercepts[c]);
        top = margin > top ? margin : top;
    }
    double loss = 0.0;
    for (int c = 0; c < classes; c++) {
        const double margin = exact_margin_sparse(
            values, indices, start, stop, exact + (long)c * features, intercepts[c]);
        loss += bring_near(margins, margin, top, c, label, weight);
    }
    return loss;
}

// All classes' margins of ROWS rows.
HELPER void margins_of_tile(
    __global const real *x, int stride, int steps, __global const real *packed, __global const real *bias, int width,
    __global real *margins)
{
    realv first[ROWS], second[ROWS];
    int c = 0;
    for (; c + 2 * LANES <= width; c += 2 * LANES) {
        scores_of_two_blocks(x, stride, steps, packed + (long)c * steps, bias + c, first, second);
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            STOREV(margins + (long)r * width + c, first[r]);
            STOREV(margins + (long)r * width + c + LANES, second[r]);
        }
    }
    if (c < width) {
        scores_of_block(x, stride, steps, packed + (long)c * steps, bias + c, first);
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            STOREV(margins + (long)r * width + c, first[r]);
    }
}

// Adds to `sums` [width] the multipliers of `count` rows.
HELPER void add_multipliers(__global const real *multipliers, int width, int count, __global double *sums)
{
    for (int c = 0; c < width; c += LANES) {
        realv sum = (realv)(0);
        for (int r = 0; r < count; r++)
            sum += LOADV(multipliers + (long)r * width + c);
        ADDD(sums + c, WIDEN(sum));
    }
}

// Adds a block's part of the gradient for the first `classes` of GROUP classes, two vectors of features at a time. Where
// a row has an odd number of vectors, the last pair's second one belongs to the next row, and is not added.
#define DEFINE_ADD_GROUP(GROUP) \
    HELPER void add_group_of_##GROUP( \
        __global const real *values, int stride, __global const real *multipliers, int width, int count, int classes, \
        __global double *gradient) \
    { \
        for (int j = 0; j < stride; j += 2 * LANES) { \
            __global const real *x = values + j; \
            __global const real *m = multipliers; \
            realv first[GROUP], second[GROUP]; \
            _Pragma("unroll") \
            for (int c = 0; c < GROUP; c++) \
                first[c] = second[c] = (realv)(0); \
            for (int r = 0; r < count; r++, x += stride, m += width) { \
                const realv u = LOADV(x), v = LOADV(x + LANES); \
                _Pragma("unroll") \
                for (int c = 0; c < GROUP; c++) { \
                    first[c] = (realv)(m[c]) * u + first[c]; \
                    second[c] = (realv)(m[c]) * v + second[c]; \
                } \
            } \
            _Pragma("unroll") \
            for (int c = 0; c < GROUP; c++) \
                if (c < classes) { \
                    ADDD(gradient + (long)c * stride + j, WIDEN(first[c])); \
                    if (j + LANES < stride) \
                        ADDD(gradient + (long)c * stride + j + LANES, WIDEN(second[c])); \
                } \
        } \
    }

DEFINE_ADD_GROUP(4)
#if WIDEST_GROUP == 12
DEFINE_ADD_GROUP(8)
DEFINE_ADD_GROUP(12)
#endif

HELPER void add_gradient_of_classes(
    __global const real *x, int stride, __global const real *multipliers, int width, int count, int classes,
    __global double *gradient)
{
    for (int c = 0; c < classes; c += WIDEST_GROUP) {
        __global double *to = gradient + (long)c * stride;
        const int left = classes - c;
#if WIDEST_GROUP == 12
        if (left > 8)
            add_group_of_12(x, stride, multipliers + c, width, count, left, to);
        else if (left > 4)
            add_group_of_8(x, stride, multipliers + c, width, count, left, to);
        else
#endif
            add_group_of_4(x, stride, multipliers + c, width, count, left, to);
    }
}

INNER void multinomial_slice(
    int rows, int features, int stride, int block, __global const real *values, __global const int *labels,
    __global const real *weights, int classes, __global const real *packed, __global const real *bias,
    __global const double *exact, __global const double *intercepts, __global real *scratch, __global double *partial)
{
    const int steps = (features + 3) / 4 * 4;
    const int width = (classes + LANES - 1) / LANES * LANES;
    __global double *multiplier_sums = partial + (long)classes * stride;
    double loss = 0.0;
    for (int first = 0; first < rows; first += block) {
        const int count = rows - first < block ? rows - first : block;
        __global const real *x = values + (long)first * stride;
        for (int r = 0; r < count; r += ROWS)
            margins_of_tile(x + (long)r * stride, stride, steps, packed, bias, width, scratch + (long)r * width);
        for (int r = 0; r < count; r++) {
            const int label = labels[first + r];
            const double weight = weights ? (double)weights[first + r] : 1.0;
            __global real *margins = scratch + (long)r * width;
            if (unsound(margins, width))
                loss += compute_again(
                    margins, x + (long)r * stride, features, exact, intercepts, classes, label, weight);
            loss += softmax(margins, width, label, weight);
        }
        add_multipliers(scratch, width, count, multiplier_sums);
        add_gradient_of_classes(x, stride, scratch, width, count, classes, partial);
    }
    multiplier_sums[width] = loss;
}

INNER void multinomial_sparse_slice(
    int rows, int features, __global const real *values, __global const int *indices, __global const long *pointers,
    __global const int *labels, __global const real *weights, int classes, __global const real *coefficients,
    __global const real *bias, __global const double *exact, __global const double *intercepts,
    __global real *margins, __global double *partial)
{
    const int width = (classes + LANES - 1) / LANES * LANES;
    __global double *multiplier_sums = partial + (long)features * width;
    double loss = 0.0;
    for (int r = 0; r < rows; r++) {
        const long start = pointers[r], stop = pointers[r + 1];
        const double weight = weights ? (double)weights[r] : 1.0;
        int c = 0;
        for (; c + 4 * LANES <= width; c += 4 * LANES) {
            realv found[4];
            sparse_scores_of_four_blocks(values, indices, start, stop, coefficients + c, width, bias + c, found);
            #pragma unroll
            for (int b = 0; b < 4; b++)
                STOREV(margins + c + b * LANES, found[b]);
        }
        for (; c < width; c += LANES)
            STOREV(margins + c, sparse_scores_of_block(values, indices, start, stop, coefficients + c, width, bias + c));
        if (unsound(margins, width))
            loss += compute_again_sparse(
                margins, values, indices, start, stop, features, exact, intercepts, classes, labels[r], weight);
        loss += softmax(margins, width, labels[r], weight);
        for (c = 0; c < width; c += LANES) {
            const doublev multiplier = WIDEN(LOADV(margins + c));
            ADDD(multiplier_sums + c, multiplier);
            for (long i = start; i < stop; i++)
                ADDD(partial + (long)indices[i] * width + c, multiplier * (double)values[i]);
        }
    }
    multiplier_sums[width] = loss;
}

__global real *scratch_of_slice(__global real *scratch, int classes)
{
    return scratch + get_global_id(0) * (long)((BLOCK + ROWS) * ((classes + LANES - 1) / LANES * LANES));
}

// One work item a slice. `block` (at most BLOCK) is how many rows are read twice in a row.
__kernel void multinomial(SLICE_PARAMETERS,
    int classes, __global const real *packed, __global const real *bias, __global const double *exact,
    __global const double *intercepts, int block, __global real *scratch)
{
    __global double *partial = partials + get_global_id(0) * (long)length;
    clear(partial, length);
    multinomial_slice(
        SLICE_COUNT, features, stride, block, values + SLICE_START * stride, FROM_START(labels), FROM_START(weights), classes,
        packed, bias, exact, intercepts, scratch_of_slice(scratch, classes), partial);
}

__kernel void multinomial_sparse(SLICE_PARAMETERS,
    int classes, __global const real *coefficients, __global const real *bias, __global const double *exact,
    __global const double *intercepts, int block, __global real *scratch)
{
    __global double *partial = partials + get_global_id(0) * (long)length;
    clear(partial, length);
    multinomial_sparse_slice(
        SLICE_COUNT, features, values, indices, FROM_START(pointers), FROM_START(labels), FROM_START(weights), classes,
        coefficients, bias, exact, intercepts, scratch_of_slice(scratch, classes), partial);
}
