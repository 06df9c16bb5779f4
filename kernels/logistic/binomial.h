// The binomial kernels. A slice's partial is [stride] gradient, then the sum of the multipliers, then the loss.

// From margins to multipliers, `count` of them in whole vectors; the rows' loss is returned by lane. With the margin's
// sign turned where the label is 1, s, a row's loss is log(1 + exp(s)) and its multiplier, but for that sign,
// exp(s) / (1 + exp(s)): neither cancels.
HELPER doublev multipliers_of(real *margins, const real *signs, const real *weights, int count, doublev *multiplier_sums)
{
    doublev loss = (doublev)(0.0);
    for (int r = 0; r < count; r += LANES) {
        const realv sign = *(const realv *)(signs + r);
        const realv weight = *(const realv *)(weights + r);
        const realv s = *(realv *)(margins + r) * sign;
        const realv e = exponential(s < (real)0 ? s : -s);
        const realv probability = (s < (real)0 ? e : (realv)(1)) / (e + (real)1);
        const realv multiplier = probability * sign * weight;
        loss += CONVERT(log_1_plus(e) + (s < (real)0 ? (realv)(0) : s), double) * CONVERT(weight, double);
        *multiplier_sums += CONVERT(multiplier, double);
        *(realv *)(margins + r) = multiplier;
    }
    return loss;
}

// Adds the block's part of `vectors` vectors of the gradient; meanwhile the next block is fetched.
HELPER void add_gradient(
    const int vectors, __global const real *x, int stride, const real *multipliers, int count, __global double *gradient)
{
    realv sums[8];
    #pragma unroll
    for (int v = 0; v < vectors; v++)
        sums[v] = (realv)(0);
    for (int r = 0; r < count; r++, x += stride) {
        const realv multiplier = (realv)(multipliers[r]);
        #pragma unroll
        for (int v = 0; v < vectors; v++) {
            sums[v] = multiplier * LOADV(x + v * LANES) + sums[v];
            PREFETCH(x + (long)count * stride + v * LANES);
        }
    }
    #pragma unroll
    for (int v = 0; v < vectors; v++)
        ADDD(gradient + v * LANES, WIDEN(sums[v]));
}

// margins[r] = x[r] . coefficients, four rows at once; up to three rows behind the last are read.
HELPER void margins_of(
    __global const real *x, int stride, int count, __global const real *coefficients, real intercept, real *margins)
{
    for (int r = 0; r < count; r += 4, x += 4 * (long)stride) {
        realv sums[4];
        #pragma unroll
        for (int i = 0; i < 4; i++)
            sums[i] = (realv)(0);
        for (int j = 0; j < stride; j += LANES) {
            const realv c = LOADV(coefficients + j);
            #pragma unroll
            for (int i = 0; i < 4; i++)
                sums[i] = LOADV(x + i * (long)stride + j) * c + sums[i];
        }
        #pragma unroll
        for (int i = 0; i < 4; i++)
            margins[r + i] = sum_reals(sums[i]) + intercept;
    }
}

// Signs and weights of a block, filled up to whole vectors with rows of weight 0.
HELPER void take_rows(
    int count, __global const int *labels, __global const real *weights, real *margins, real *signs, real *taken)
{
    for (int r = 0; r < count; r++) {
        signs[r] = labels[r] ? (real)-1 : (real)1;
        taken[r] = weights ? weights[r] : (real)1;
    }
    for (int r = count; r % LANES; r++) {
        margins[r] = (real)0;
        signs[r] = (real)1;
        taken[r] = (real)0;
    }
}

INNER void binomial_slice(
    int rows, int features, int stride, int block, __global const real *values, __global const int *labels,
    __global const real *weights, __global const real *coefficients, __global const double *exact, double intercept,
    __global double *partial)
{
    realv margin_vectors[BLOCK / LANES], sign_vectors[BLOCK / LANES], weight_vectors[BLOCK / LANES];
    real *margins = (real *)margin_vectors;
    real *signs = (real *)sign_vectors;
    real *taken = (real *)weight_vectors;
    doublev losses = (doublev)(0.0), multiplier_sums = (doublev)(0.0);
    double more_loss = 0.0;
    for (int first = 0; first < rows; first += block) {
        const int count = rows - first < block ? rows - first : block;
        __global const real *x = values + (long)first * stride;
        margins_of(x, stride, count, coefficients, (real)intercept, margins);
        take_rows(count, labels + first, weights ? weights + first : weights, margins, signs, taken);
        for (int r = 0; r < count; r++)
            if (!sound(margins[r]))
                margins[r] = brought_near(
                    exact_margin(x + (long)r * stride, features, exact, intercept), labels[first + r], taken[r],
                    &more_loss);
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
    partial[stride + 1] = sum_lanes(losses) + more_loss;
}

INNER void binomial_sparse_slice(
    int rows, int stride, __global const real *values, __global const int *indices, __global const long *pointers,
    __global const int *labels, __global const real *weights, __global const real *coefficients,
    __global const double *exact, double intercept, __global double *partial)
{
    realv margin_vectors[BLOCK / LANES], sign_vectors[BLOCK / LANES], weight_vectors[BLOCK / LANES];
    real *margins = (real *)margin_vectors;
    real *signs = (real *)sign_vectors;
    real *taken = (real *)weight_vectors;
    doublev losses = (doublev)(0.0), multiplier_sums = (doublev)(0.0);
    double more_loss = 0.0;
    for (int first = 0; first < rows; first += BLOCK) {
        const int count = rows - first < BLOCK ? rows - first : BLOCK;
        take_rows(count, labels + first, weights ? weights + first : weights, margins, signs, taken);
        for (int r = 0; r < count; r++) {
            const long start = pointers[first + r], stop = pointers[first + r + 1];
            real even = (real)intercept, odd = (real)0;
            long i = start;
            for (; i + 2 <= stop; i += 2) {
                even += values[i] * coefficients[indices[i]];
                odd += values[i + 1] * coefficients[indices[i + 1]];
            }
            if (i < stop)
                even += values[i] * coefficients[indices[i]];
            margins[r] = even + odd;
            if (!sound(margins[r]))
                margins[r] = brought_near(
                    exact_margin_sparse(values, indices, start, stop, exact, intercept), labels[first + r], taken[r],
                    &more_loss);
        }
        losses += multipliers_of(margins, signs, taken, count, &multiplier_sums);
        for (int r = 0; r < count; r++)
            for (long i = pointers[first + r]; i < pointers[first + r + 1]; i++)
                partial[indices[i]] += (double)margins[r] * values[i];
    }
    partial[stride] = sum_lanes(multiplier_sums);
    partial[stride + 1] = sum_lanes(losses) + more_loss;
}

// One work item a slice. `block` (a multiple of LANES, at most BLOCK) is how many rows are read twice in a row.
__kernel void binomial(SLICE_PARAMETERS,
    __global const real *coefficients, __global const double *exact, double intercept, int block)
{
    __global double *partial = partials + get_global_id(0) * (long)length;
    clear(partial, length);
    binomial_slice(
        SLICE_COUNT, features, stride, block, values + SLICE_START * stride, FROM_START(labels), FROM_START(weights),
        coefficients, exact, intercept, partial);
}

__kernel void binomial_sparse(SLICE_PARAMETERS,
    __global const real *coefficients, __global const double *exact, double intercept, int block)
{
    __global double *partial = partials + get_global_id(0) * (long)length;
    clear(partial, length);
    binomial_sparse_slice(
        SLICE_COUNT, stride, values, indices, FROM_START(pointers), FROM_START(labels), FROM_START(weights),
        coefficients, exact, intercept, partial);
}
