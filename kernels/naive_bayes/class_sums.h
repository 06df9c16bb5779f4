// By class: the sum of the rows' weights, of weight x row and, where asked for, of weight x row squared; all in double.
//
// Rows are dense, or CSR in the kernel `class_sums_sparse`. A slice's partial is [classes][stride] sums, then [classes]
// [stride] sums of squares if there are any, then [classes] sums of weights.

HELPER void add_row(const int squares, __global const real *x, double weight, int stride, __global double *sums, long apart)
{
    for (int j = 0; j < stride; j += LANES) {
        const doublev value = WIDEN(LOADV(x + j));
        const doublev weighted = value * weight;
        ADDD(sums + j, weighted);
        if (squares)
            ADDD(sums + apart + j, weighted * value);
    }
}

INNER void class_sums_slice(
    int rows, int stride, __global const real *values, __global const int *labels, __global const double *weights,
    int classes, int squares, __global double *partial)
{
    const long apart = (long)classes * stride;
    __global double *weight_sums = partial + (squares ? 2 : 1) * apart;
    for (int r = 0; r < rows; r++, values += stride) {
        const double weight = weights ? weights[r] : 1.0;
        if (weight == 0.0)
            continue;
        __global double *sums = partial + (long)labels[r] * stride;
        weight_sums[labels[r]] += weight;
        if (squares)
            add_row(1, values, weight, stride, sums, apart);
        else
            add_row(0, values, weight, stride, sums, apart);
    }
}

INNER void class_sums_sparse_slice(
    int rows, int stride, __global const real *values, __global const int *indices, __global const long *pointers,
    __global const int *labels, __global const double *weights, int classes, int squares, __global double *partial)
{
    const long apart = (long)classes * stride;
    __global double *weight_sums = partial + (squares ? 2 : 1) * apart;
    for (int r = 0; r < rows; r++) {
        const double weight = weights ? weights[r] : 1.0;
        if (weight == 0.0)
            continue;
        __global double *sums = partial + (long)labels[r] * stride;
        weight_sums[labels[r]] += weight;
        for (long i = pointers[r]; i < pointers[r + 1]; i++) {
            const double weighted = weight * values[i];
            sums[indices[i]] += weighted;
            if (squares)
                sums[apart + indices[i]] += weighted * values[i];
        }
    }
}

__kernel void class_sums(SLICE_PARAMETERS, int classes, int squares)
{
    FOR_EACH_SLICE {
        class_sums_slice(
            SLICE_COUNT, stride, values + SLICE_START * stride, FROM_START(labels), FROM_START(weights), classes, squares, SLICE_SUMS);
    }
}

__kernel void class_sums_sparse(SLICE_PARAMETERS, int classes, int squares)
{
    FOR_EACH_SLICE {
        class_sums_sparse_slice(
            SLICE_COUNT, stride, values, indices, FROM_START(pointers), FROM_START(labels), FROM_START(weights), classes,
            squares, SLICE_SUMS);
    }
}
