__kernel void vector_add(__global const float *restrict a, __global const float *restrict b,
                         __global float *restrict sum, int n) {
    const int i = get_global_id(0);
    if (i < n)
        sum[i] = a[i] + b[i];
}
