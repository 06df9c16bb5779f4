// Loss and gradient of a logistic regression: binomial (labels 0 and 1) and multinomial (softmax).
//
// Rows are dense, or CSR in the kernels `*_sparse`. A slice goes through in blocks of at most BLOCK rows: margins of a
// block, from these its loss and multipliers (derivatives of the loss by the margins, times weights), then its part of
// the gradient; so the rows are still in a cache when they are read for the second time. Within a block sums are real,
// from block to block they are double.
//
// A margin that is not sound (overflow, see LIMIT) is computed again in double, from the coefficients as the host got
// them (`exact`). Beyond FAR, losses are linear and multipliers constant: such a margin becomes FAR, and the loss that
// is missing then is added in double.
#define FAR 1e4

HELPER double magnitude(double value)
{
    return value < 0.0 ? -value : value;
}

// log(x) of a double >= 1.
HELPER double log_of(double x)
{
    const long bits = as_long(x);
    const double exponent = (double)((bits >> 52) - 1023);
    const double mantissa = as_double((bits & 0xfffffffffffffL) | 0x3ff0000000000000L);
    const double s = (mantissa - 1.0) / (mantissa + 1.0);
    const double square = s * s;
    double sum = RECIPROCALS[35];
    #pragma unroll
    for (int i = 16; i >= 0; i--)
        sum = sum * square + RECIPROCALS[2 * i + 1];
    return exponent * 0.6931471805599453 + 2.0 * s * sum;
}

HELPER double exact_margin(__global const real *x, int features, __global const double *coefficients, double intercept)
{
    double margin = intercept;
    for (int j = 0; j < features; j++)
        margin += x[j] * coefficients[j];
    return margin;
}

HELPER double exact_margin_sparse(
    __global const real *values, __global const int *indices, long start, long stop,
    __global const double *coefficients, double intercept)
{
    double margin = intercept;
    for (long i = start; i < stop; i++)
        margin += values[i] * coefficients[indices[i]];
    return margin;
}

// A margin brought to [-FAR, FAR]; adds to `loss` what that takes away from a row of this label and weight.
HELPER real brought_near(double margin, int label, double weight, double *loss)
{
    if (!(magnitude(margin) > FAR))  // NaN stays
        return (real)margin;
    if ((margin > 0.0) != (label != 0))
        *loss += weight * (magnitude(margin) - FAR);
    return margin > 0.0 ? (real)FAR : (real)-FAR;
}
