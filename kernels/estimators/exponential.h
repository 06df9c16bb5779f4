// exp and log by operators alone, to about an ulp, for the arguments that a logistic regression has.
#define MAGIC 6755399441055744.0  // 1.5 * 2^52: adding it rounds to a whole number, which then is in the lowest bits
#define LOG2_E 1.4426950408889634
#define LN2_HIGH 0.6931471803691238
#define LN2_LOW 1.9082149292705877e-10
#define LEAST -708.0
#define EXP_TERMS 13
#define LOG_TERMS 17

typedef JOIN(long, LANES) longv;
#define AS_DOUBLEV JOIN(as_double, LANES)
#define AS_LONGV JOIN(as_long, LANES)

__constant double RECIPROCALS[36] = {
    0, 1, 1.0 / 2, 1.0 / 3, 1.0 / 4, 1.0 / 5, 1.0 / 6, 1.0 / 7, 1.0 / 8, 1.0 / 9, 1.0 / 10, 1.0 / 11, 1.0 / 12,
    1.0 / 13, 1.0 / 14, 1.0 / 15, 1.0 / 16, 1.0 / 17, 1.0 / 18, 1.0 / 19, 1.0 / 20, 1.0 / 21, 1.0 / 22, 1.0 / 23,
    1.0 / 24, 1.0 / 25, 1.0 / 26, 1.0 / 27, 1.0 / 28, 1.0 / 29, 1.0 / 30, 1.0 / 31, 1.0 / 32, 1.0 / 33, 1.0 / 34,
    1.0 / 35};

// exp(x) for x <= 0; 0 where that is no normal number. x = n ln 2 + r, |r| <= ln 2 / 2; Taylor's series of exp(r).
HELPER doublev exponential(doublev x)
{
    const doublev shifted = x * LOG2_E + MAGIC;
    const doublev n = shifted - MAGIC;
    const doublev r = (x - n * LN2_HIGH) - n * LN2_LOW;
    doublev sum = (doublev)(1.0);
    #pragma unroll
    for (int i = EXP_TERMS; i > 0; i--)
        sum = sum * (r * RECIPROCALS[i]) + 1.0;
    const longv power = (AS_LONGV(shifted) + 1023L) << 52L;
    return x < (doublev)(LEAST) ? (doublev)(0.0) : sum * AS_DOUBLEV(power);
}

// log(1 + y) for 0 <= y <= 1: 2 artanh(s) with s = y / (2 + y) <= 1/3, by its series.
HELPER doublev log_1_plus(doublev y)
{
    const doublev s = y / (y + 2.0);
    const doublev square = s * s;
    doublev sum = (doublev)(RECIPROCALS[2 * LOG_TERMS + 1]);
    #pragma unroll
    for (int i = LOG_TERMS - 1; i >= 0; i--)
        sum = sum * square + RECIPROCALS[2 * i + 1];
    return s * 2.0 * sum;
}

// log(x) for x >= 1.
HELPER double log_of(double x)
{
    const long bits = as_long(x);
    const double exponent = (double)((bits >> 52) - 1023);
    const double mantissa = as_double((bits & 0xfffffffffffffL) | 0x3ff0000000000000L);
    const double s = (mantissa - 1.0) / (mantissa + 1.0);
    const double square = s * s;
    double sum = RECIPROCALS[2 * LOG_TERMS + 1];
    #pragma unroll
    for (int i = LOG_TERMS - 1; i >= 0; i--)
        sum = sum * square + RECIPROCALS[2 * i + 1];
    return x < INFINITY ? exponent * 0.6931471805599453 + 2.0 * s * sum : x;  // NaN too
}
