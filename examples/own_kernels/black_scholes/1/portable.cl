// The share of the standard normal distribution below x.
float below(float x) {
    return 0.5f * erfc(-x * M_SQRT1_2_F);
}

__kernel void black_scholes(__global const float *restrict spot, __global const float *restrict strike,
                            __global const float *restrict years, __global const float *restrict volatility,
                            float rate, __global float *restrict call, __global float *restrict put, int n) {
    const int i = get_global_id(0);
    if (i >= n)  // there are more work items than options: a multiple of 64
        return;
    const float deviation = volatility[i] * sqrt(years[i]);
    const float d1 =
        (log(spot[i] / strike[i]) + (rate + 0.5f * volatility[i] * volatility[i]) * years[i]) / deviation;
    const float d2 = d1 - deviation;
    const float discounted = strike[i] * exp(-rate * years[i]);
    call[i] = spot[i] * below(d1) - discounted * below(d2);
    put[i] = discounted * below(-d2) - spot[i] * below(-d1);
}
