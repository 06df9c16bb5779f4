// Loss and gradient of a binomial logistic regression (labels 0 and 1), in double on rows of either type: L-BFGS wants a
// loss that has no steps, and its search for a step fails on one that has.
//
// Rows are dense, or CSR in the kernel `binomial_sparse`. A slice goes through in blocks of at most BLOCK rows: margins
// of a block, from these its loss and multipliers (derivatives of the loss by the margins, times weights), then its part
// of the gradient; so the rows are still in a cache when they are read for the second time.
// A slice's partial is [stride] gradient, then the sum of the multipliers, then the loss.

// From margins to multipliers, `count` of them in whole vectors; the rows' loss is returned by lane. With the margin's
// sign turned where the label is 1, s, a row's loss is log(1 + exp(s)) and its multiplier, but for that sign,
// exp(s) / (1 + exp(s)): neither cancels.
HELPER doublev multipliers_of(
    double *margins, const double *signs, const double *weights, int count, doublev *multiplier_sums)
{
    doublev loss = (doublev)(0.0);
    for (int r = 0; r < count; r += LANES) {
        const doublev sign = *(const doublev *)(signs + r);
        const doublev weight = *(const doublev *)(weights + r);
        const doublev s = *(doublev *)(margins + r) * sign;
        const doublev e = exponential(s < 0.0 ? s : -s);
        const doublev probability = (s < 0.0 ? e : (doublev)(1.0)) / (e + 1.0);
        const doublev multiplier = probability * sign * weight;
        loss += (log_1_plus(e) + (s < 0.0 ? (doublev)(0.0) : s)) * weight;
        *multiplier_sums += multiplier;
        *(doublev *)(margins + r) = multiplier;
    }
    return loss;
}

// Adds the block's part of `vectors` vectors of the gradient; meanwhile the next block is fetched.
HELPER void add_gradient(
    const int vectors, __global const stored *x, int stride, const double *multipliers, int count,
    __global double *gradient)
{
    doublev sums[8];
    #pragma unroll
    for (int v = 0; v < vectors; v++)
        sums[v] = (doublev)(0.0);
    for (int r = 0; r < count; r++, x += stride) {
        const doublev multiplier = (doublev)(multipliers[r]);
        #pragma unroll
        for (int v = 0; v < vectors; v++) {
            sums[v] = multiplier * LOADW(x + v * LANES) + sums[v];
            PREFETCH(x + (long)count * stride + v * LANES);
        }
    }
    #pragma unroll
    for (int v = 0; v < vectors; v++)
        ADDD(gradient + v * LANES, sums[v]);
}

// margins[r] = x[r] . coefficients, four rows at once; up to three rows behind the last are read.
HELPER void margins_of(
    __global const stored *x, int stride, int count, __global const double *coefficients, double intercept,
    double *margins)
{
    for (int r = 0; r < count; r += 4, x += 4 * (long)stride) {
        doublev sums[4];
        #pragma unroll
        for (int i = 0; i < 4; i++)
            sums[i] = (doublev)(0.0);
        for (int j = 0; j < stride; j += LANES) {
            const doublev c = LOADD(coefficients + j);
            #pragma unroll
            for (int i = 0; i < 4; i++)
                sums[i] = LOADW(x + i * (long)stride + j) * c + sums[i];
        }
        #pragma unroll
        for (int i = 0; i < 4; i++)
            margins[r + i] = sum_lanes(sums[i]) + intercept;
    }
}

// Signs and weights of a block, filled up to whole vectors with rows of weight 0.
HELPER void take_rows(
    int count, __global const int *labels, __global const double *weights, double *margins, double *signs,
    double *taken)
{
    for (int r = 0; r < count; r++) {
        signs[r] = labels[r] ? -1.0 : 1.0;
        taken[r] = weights ? weights[r] : 1.0;
    }
    for (int r = count; r % LANES; r++) {
        margins[r] = 0.0;
        signs[r] = 1.0;
        taken[r] = 0.0;
    }
}

INNER void binomial_slice(
    int rows, int stride, int block, __global const stored *values, __global const int *labels,
    __global const double *weights, __global const double *coefficients, double intercept, __global double *partial)
{
    doublev margin_vectors[BLOCK / LANES], sign_vectors[BLOCK / LANES], weight_vectors[BLOCK / LANES];
    double *margins = (double *)margin_vectors;
    double *signs = (double *)sign_vectors;
    double *taken = (double *)weight_vectors;
    doublev losses = (doublev)(0.0), multiplier_sums = (doublev)(0.0);
    for (int first = 0; first < rows; first += block) {
        const int count = rows - first < block ? rows - first : block;
        __global const stored *x = values + (long)first * stride;
        margins_of(x, stride, count, coefficients, intercept, margins);
        take_rows(count, labels + first, weights ? weights + first : weights, margins, signs, taken);
        losses += multipliers_of(margins, signs, taken, count, &multiplier_sums);
        int j = 0;
        for (; j + 8 * LANES <= stride; j += 8 * LANES)
            add_gradient(8, x + j, stride, margins, count, partial + j);
        switch ((stride - j) / LANES) {
        case 7: add_gradient(7, x + j, stride, margins, count, partial + j); break;
        case 6: add_gradient(6, x + j, stride, margins, count, partial + j); break;
        case 5: add_gradient(5, x + j, stride, margins, count, partial + j); break;
        case 4: add_gradient(4, x + j, stride, margins, count, partial + j); break;
        case 3: add_gradient(3, x + j, stride, margins, count, partial + j); break;
        case 2: add_gradient(2, x + j, stride, margins, count, partial + j); break;
        case 1: add_gradient(1, x + j, stride, margins, count, partial + j); break;
        }
    }
    partial[stride] = sum_lanes(multiplier_sums);
    partial[stride + 1] = sum_lanes(losses);
}

INNER void binomial_sparse_slice(
    int rows, int stride, __global const stored *values, __global const int *indices, __global const long *pointers,
    __global const int *labels, __global const double *weights, __global const double *coefficients, double intercept,
    __global double *partial)
{
    doublev margin_vectors[BLOCK / LANES], sign_vectors[BLOCK / LANES], weight_vectors[BLOCK / LANES];
    double *margins = (double *)margin_vectors;
    double *signs = (double *)sign_vectors;
    double *taken = (double *)weight_vectors;
    doublev losses = (doublev)(0.0), multiplier_sums = (doublev)(0.0);
    for (int first = 0; first < rows; first += BLOCK) {
        const int count = rows - first < BLOCK ? rows - first : BLOCK;
        take_rows(count, labels + first, weights ? weights + first : weights, margins, signs, taken);
        for (int r = 0; r < count; r++) {
            const long start = pointers[first + r], stop = pointers[first + r + 1];
            double even = intercept, odd = 0.0;
            long i = start;
            for (; i + 2 <= stop; i += 2) {
                even += values[i] * coefficients[indices[i]];
                odd += values[i + 1] * coefficients[indices[i + 1]];
            }
            if (i < stop)
                even += values[i] * coefficients[indices[i]];
            margins[r] = even + odd;
        }
        losses += multipliers_of(margins, signs, taken, count, &multiplier_sums);
        for (int r = 0; r < count; r++)
            for (long i = pointers[first + r]; i < pointers[first + r + 1]; i++)
                partial[indices[i]] += margins[r] * values[i];
    }
    partial[stride] = sum_lanes(multiplier_sums);
    partial[stride + 1] = sum_lanes(losses);
}

// `block` (a multiple of LANES, at most BLOCK) is how many rows are read twice in a row.
__kernel void binomial(SLICE_PARAMETERS, __global const double *coefficients, double intercept, int block)
{
    FOR_EACH_SLICE {
        binomial_slice(
            SLICE_COUNT, stride, block, values + SLICE_START * stride, FROM_START(labels), FROM_START(weights), coefficients,
            intercept, SLICE_SUMS);
    }
}

__kernel void binomial_sparse(SLICE_PARAMETERS, __global const double *coefficients, double intercept, int block)
{
    FOR_EACH_SLICE {
        binomial_sparse_slice(
            SLICE_COUNT, stride, values, indices, FROM_START(pointers), FROM_START(labels), FROM_START(weights), coefficients,
            intercept, SLICE_SUMS);
    }
}
