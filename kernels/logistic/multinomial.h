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
        *(__global realv *)(margins + c) = e;
        sums += WIDEN(e);
    }
    const double total = sum_lanes(sums);
    const double others = total - margins[label];
    const real scale = (real)(weight / total);
    for (int c = 0; c < width; c += LANES)
        *(__global realv *)(margins + c) = LOADV(margins + c) * scale;
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

HELPER void store_scores(const int blocks, realv found[ROWS][BLOCKS], __global real *to, int width)
{
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int b = 0; b < blocks; b++)
            *(__global realv *)(to + r * width + b * LANES) = found[r][b];
}

// All classes' margins of ROWS rows.
HELPER void margins_of_tile(
    __global const real *x, int stride, int steps, __global const real *packed, __global const real *bias, int width,
    __global real *margins)
{
    realv found[ROWS][BLOCKS];
    int c = 0;
    for (; c + BLOCKS * LANES <= width; c += BLOCKS * LANES) {
        scores(BLOCKS, x, stride, steps, packed + (long)c * steps, bias + c, found);
        store_scores(BLOCKS, found, margins + c, width);
    }
    for (; c < width; c += LANES) {
        scores(1, x, stride, steps, packed + (long)c * steps, bias + c, found);
        store_scores(1, found, margins + c, width);
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

// Adds a block's part of the gradient: `group` classes, `wide` vectors of features.
HELPER void add_tile(
    const int group, const int wide, __global const real *x, int stride, __global const real *multipliers, int width,
    int count, int classes, __global double *gradient)
{
    realv sums[GROUP][WIDE];
    #pragma unroll
    for (int c = 0; c < group; c++)
        #pragma unroll
        for (int v = 0; v < wide; v++)
            sums[c][v] = (realv)(0);
    for (int r = 0; r < count; r++, x += stride, multipliers += width) {
        realv values[WIDE];
        #pragma unroll
        for (int v = 0; v < wide; v++)
            values[v] = LOADV(x + v * LANES);
        #pragma unroll
        for (int c = 0; c < group; c++) {
            const realv multiplier = (realv)(multipliers[c]);
            #pragma unroll
            for (int v = 0; v < wide; v++)
                sums[c][v] = multiplier * values[v] + sums[c][v];
        }
    }
    #pragma unroll
    for (int c = 0; c < group; c++)
        if (c < classes)
            #pragma unroll
            for (int v = 0; v < wide; v++)
                ADDD(gradient + (long)c * stride + v * LANES, WIDEN(sums[c][v]));
}

HELPER void add_classes(
    const int group, __global const real *x, int stride, __global const real *multipliers, int width, int count,
    int classes, __global double *gradient)
{
    int j = 0;
    for (; j + WIDE * LANES <= stride; j += WIDE * LANES)
        add_tile(group, WIDE, x + j, stride, multipliers, width, count, classes, gradient + j);
    for (; j < stride; j += LANES)
        add_tile(group, 1, x + j, stride, multipliers, width, count, classes, gradient + j);
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
        int c = 0;
        for (; c + GROUP <= classes; c += GROUP)
            add_classes(GROUP, x, stride, scratch + c, width, count, GROUP, partial + (long)c * stride);
#if GROUP > 8
        if (classes - c > 8) {
            add_classes(GROUP, x, stride, scratch + c, width, count, classes - c, partial + (long)c * stride);
            c = classes;
        } else if (classes - c > 4) {
            add_classes(8, x, stride, scratch + c, width, count, classes - c, partial + (long)c * stride);
            c = classes;
        }
#endif
        if (c < classes)
            add_classes(4, x, stride, scratch + c, width, count, classes - c, partial + (long)c * stride);
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
    realv found[BLOCKS];
    for (int r = 0; r < rows; r++) {
        const long start = pointers[r], stop = pointers[r + 1];
        const double weight = weights ? (double)weights[r] : 1.0;
        int c = 0;
        for (; c + BLOCKS * LANES <= width; c += BLOCKS * LANES) {
            sparse_scores(BLOCKS, values, indices, start, stop, coefficients + c, width, bias + c, found);
            #pragma unroll
            for (int b = 0; b < BLOCKS; b++)
                *(__global realv *)(margins + c + b * LANES) = found[b];
        }
        for (; c < width; c += LANES) {
            sparse_scores(1, values, indices, start, stop, coefficients + c, width, bias + c, found);
            *(__global realv *)(margins + c) = found[0];
        }
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
