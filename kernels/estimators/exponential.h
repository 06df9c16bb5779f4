// exp and log of vectors by operators alone, to about an ulp, for the arguments that a logistic regression has.

#if DOUBLE
#define MAGIC 6755399441055744.0  // 1.5 * 2^52: adding it rounds to a whole number, which then is in the lowest bits
#define LOG2_E 1.4426950408889634
#define LN2_HIGH 0.6931471803691238
#define LN2_LOW 1.9082149292705877e-10
#define LEAST -708.0
#define EXPONENT 52
#define EXPONENT_BIAS 1023
#define EXP_TERMS 13
#define LOG_TERMS 17
#else
#define MAGIC 12582912.0f
#define LOG2_E 1.44269504f
#define LN2_HIGH 0.693145752f
#define LN2_LOW 1.42860677e-6f
#define LEAST -87.0f
#define EXPONENT 23
#define EXPONENT_BIAS 127
#define EXP_TERMS 7
#define LOG_TERMS 8
#endif

__constant double RECIPROCALS[36] = {
    0, 1, 1.0 / 2, 1.0 / 3, 1.0 / 4, 1.0 / 5, 1.0 / 6, 1.0 / 7, 1.0 / 8, 1.0 / 9, 1.0 / 10, 1.0 / 11, 1.0 / 12,
    1.0 / 13, 1.0 / 14, 1.0 / 15, 1.0 / 16, 1.0 / 17, 1.0 / 18, 1.0 / 19, 1.0 / 20, 1.0 / 21, 1.0 / 22, 1.0 / 23,
    1.0 / 24, 1.0 / 25, 1.0 / 26, 1.0 / 27, 1.0 / 28, 1.0 / 29, 1.0 / 30, 1.0 / 31, 1.0 / 32, 1.0 / 33, 1.0 / 34,
    1.0 / 35};

// exp(x) for x <= 0; 0 where that is no normal number. x = n ln 2 + r, |r| <= ln 2 / 2; Taylor's series of exp(r).
HELPER realv exponential(realv x)
{
    const realv shifted = x * LOG2_E + MAGIC;
    const realv n = shifted - MAGIC;
    const realv r = (x - n * LN2_HIGH) - n * LN2_LOW;
    realv sum = (realv)(1);
    #pragma unroll
    for (int i = EXP_TERMS; i > 0; i--)
        sum = sum * (r * (real)RECIPROCALS[i]) + (real)1;
    const wholev power = (AS_WHOLEV(shifted) + (whole)EXPONENT_BIAS) << (whole)EXPONENT;
    return x < (realv)(LEAST) ? (realv)(0) : sum * AS_REALV(power);
}

// log(1 + y) for 0 <= y <= 1: 2 artanh(s) with s = y / (2 + y) <= 1/3, by its series.
HELPER realv log_1_plus(realv y)
{
    const realv s = y / (y + (real)2);
    const realv square = s * s;
    realv sum = (realv)((real)RECIPROCALS[2 * LOG_TERMS + 1]);
    #pragma unroll
    for (int i = LOG_TERMS - 1; i >= 0; i--)
        sum = sum * square + (real)RECIPROCALS[2 * i + 1];
    return s * (real)2 * sum;
}
