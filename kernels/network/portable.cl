// The layers of a quantised network (spark_accel/networks/plan.py defines them) for any OpenCL 1.2 device.
//
// Activations are uint8 [n][height][width][channels]. A buffer that a kernel reads has LANES bytes to spare behind its
// last element: vectors are read whole, and what lies past the end is multiplied by nothing and stored nowhere.
// Weights are packed once, by the host: int8 [out / 16][kernel row][column, in][16]; what belongs to output channels
// (bias, multiplier, ...) is filled up to a multiple of 16, too.
//
// Sums are int32. Their parts over at most 512 products are made in float32, which every device multiplies and adds
// fastest, and are exact there: 512 * 255 * 128 < 2^24.
//
// manifest.json defines LANES (16, as the vector types have it), PIXELS, BLOCKS and TILE (at most 512). Inner loops use
// operators and pointers rather than built-in functions, which some compilers for CPUs call instead of inlining.
#pragma OPENCL FP_CONTRACT OFF

typedef uchar16 __attribute__((aligned(1))) uchar16_unaligned;
typedef float8 __attribute__((aligned(4))) float8_unaligned;

typedef struct {
    float8 low;   // output channels 0 to 7 of a block
    float8 high;  // 8 to 15
} partial_t;

typedef struct {
    int8 low;
    int8 high;
} sums_t;

// Where an output pixel's window lies.
typedef struct {
    int image;      // offset of its image's first byte
    int top, left;  // negative in the padding
} window_t;

// Adds, to the sums of all pixels, `count` elements of the tile times those of one block's weights.
void accumulate(sums_t *sums, float (*tile)[TILE + LANES], __global const char16 *weights, int count)
{
    // Fused or not, the bits are the same: all values are integers below 2^24.
    #pragma OPENCL FP_CONTRACT ON
    partial_t partial[PIXELS];
    #pragma unroll
    for (int p = 0; p < PIXELS; p++) {
        partial[p].low = 0.0f;
        partial[p].high = 0.0f;
    }
    for (int k = 0; k < count; k++) {
        const char16 w = weights[k];
        const float8 low = convert_float8(w.lo);
        const float8 high = convert_float8(w.hi);
        #pragma unroll
        for (int p = 0; p < PIXELS; p++) {
            const float x = tile[p][k];
            partial[p].low = x * low + partial[p].low;
            partial[p].high = x * high + partial[p].high;
        }
    }
    #pragma unroll
    for (int p = 0; p < PIXELS; p++) {
        sums[p].low += convert_int8(partial[p].low);
        sums[p].high += convert_int8(partial[p].high);
    }
}

// Copies `count` bytes as floats; writes whole vectors.
void widen(float *to, __global const uchar *from, int count)
{
    for (int i = 0; i < count; i += LANES) {
        const uchar16 values = *(__global const uchar16_unaligned *)(from + i);
        *(float8_unaligned *)(to + i) = convert_float8(values.lo);
        *(float8_unaligned *)(to + i + 8) = convert_float8(values.hi);
    }
}

float8 bounded(float8 value, float least, float most)
{
    value = value > least ? value : (float8)(least);
    return value < most ? value : (float8)(most);
}

// saturate(rint(total * multiplier) + zero_point). Clamped before it is rounded, which changes nothing between whole
// bounds, the value is small enough that adding and subtracting 1.5 * 2^23 rounds it, half to even.
uchar8 requantise(float8 total, float8 multiplier, float8 zero_point)
{
    float8 value = bounded(total * multiplier, -255.0f, 255.0f);
    value = (value + 12582912.0f) - 12582912.0f + zero_point;
    return convert_uchar8(bounded(value, 0.0f, 255.0f));
}

void store(uchar16 values, __global uchar *to, int channels)
{
    if (channels >= LANES) {
        *(__global uchar16_unaligned *)to = values;
    } else {
        uchar one[LANES];
        *(uchar16_unaligned *)one = values;
        for (int i = 0; i < channels; i++)
            to[i] = one[i];
    }
}

// Every kernel's first argument is the number of images.

// One work item makes PIXELS neighbouring output pixels of BLOCKS * 16 channels. What a row of the kernel meets, column
// and channel in one, lies side by side in the input. So the work item copies the input of its pixels, TILE elements of
// a row at a time, to private memory, widened and with padding resolved, and multiplies that with each block's weights.
__kernel void convolution(
    int images, __global const uchar *input, __global const char16 *weights, __global const int8 *bias,
    __global const float8 *multiplier, __global const uchar8 *zero_point, __global const uchar *pad_value,
    __global const uchar *residual, __global const int8 *residual_multiplier, __global uchar *output,
    int height, int width, int channels, int out_height, int out_width, int out_channels,
    int kernel_height, int kernel_width, int stride_y, int stride_x, int pad_top, int pad_left, int has_residual)
{
    const int first_pixel = get_global_id(0) * PIXELS;
    const int last_pixel = min(first_pixel + PIXELS, images * out_height * out_width) - 1;
    const int first_block = get_global_id(1) * BLOCKS;
    const int blocks = min(BLOCKS, (out_channels + LANES - 1) / LANES - first_block);
    const int row = kernel_width * channels;

    window_t windows[PIXELS];
    for (int p = 0; p < PIXELS; p++) {
        const int pixel = min(first_pixel + p, last_pixel);
        windows[p].image = pixel / (out_height * out_width) * (height * width * channels);
        windows[p].top = pixel / out_width % out_height * stride_y - pad_top;
        windows[p].left = pixel % out_width * stride_x - pad_left;
    }

    sums_t sums[BLOCKS][PIXELS];
    for (int b = 0; b < blocks; b++)
        for (int p = 0; p < PIXELS; p++) {
            sums[b][p].low = bias[2 * (first_block + b)];
            sums[b][p].high = bias[2 * (first_block + b) + 1];
        }

    float tile[PIXELS][TILE + LANES];
    for (int ky = 0; ky < kernel_height; ky++)
        for (int start = 0; start < row; start += TILE) {
            const int count = min(TILE, row - start);
            for (int p = 0; p < PIXELS; p++) {
                const int y = windows[p].top + ky;
                const int left = windows[p].left;
                const int from = windows[p].image + (y * width + left) * channels + start;
                const int y_inside = y >= 0 && y < height;
                if (y_inside && left >= 0 && left + kernel_width <= width) {
                    widen(tile[p], input + from, count);
                    continue;
                }
                for (int done = 0; done < count;) {
                    const int column = (start + done) / channels;
                    const int first_channel = start + done - column * channels;
                    const int inside = y_inside && left + column >= 0 && left + column < width;
                    const int step = min(count - done, channels - first_channel);
                    widen(tile[p] + done, inside ? input + from + done : pad_value + first_channel, step);
                    done += step;
                }
            }
            for (int b = 0; b < blocks; b++) {
                const size_t kernel_row = (first_block + b) * kernel_height + ky;
                accumulate(sums[b], tile, weights + kernel_row * row + start, count);
            }
        }

    for (int b = 0; b < blocks; b++) {
        const int group = 2 * (first_block + b);  // of 8 channels
        const float8 multiplier_low = multiplier[group];
        const float8 multiplier_high = multiplier[group + 1];
        const float8 zero_low = convert_float8(zero_point[group]);
        const float8 zero_high = convert_float8(zero_point[group + 1]);
        for (int pixel = first_pixel; pixel <= last_pixel; pixel++) {
            const int at = pixel * out_channels + group * 8;
            int8 low = sums[b][pixel - first_pixel].low;
            int8 high = sums[b][pixel - first_pixel].high;
            if (has_residual) {
                const uchar16 r = *(__global const uchar16_unaligned *)(residual + at);
                low += convert_int8(r.lo) * residual_multiplier[group];
                high += convert_int8(r.hi) * residual_multiplier[group + 1];
            }
            const uchar8 y_low = requantise(convert_float8(low), multiplier_low, zero_low);
            const uchar8 y_high = requantise(convert_float8(high), multiplier_high, zero_high);
            store((uchar16)(y_low, y_high), output + at, out_channels - group * 8);
        }
    }
}

// One work item makes a row of 16 channels.
__kernel void max_pool(
    int images, __global const uchar *input, __global uchar *output,
    int height, int width, int channels, int out_height, int out_width,
    int kernel_height, int kernel_width, int stride_y, int stride_x, int pad_top, int pad_left)
{
    const int row = get_global_id(0);
    const int first_channel = get_global_id(1) * LANES;
    const int image = row / out_height;
    const int top = row % out_height * stride_y - pad_top;
    for (int x = 0; x < out_width; x++) {
        const int left = x * stride_x - pad_left;
        uchar16 largest = 0;
        for (int y = max(top, 0); y < min(top + kernel_height, height); y++)
            for (int column = max(left, 0); column < min(left + kernel_width, width); column++) {
                const int at = ((image * height + y) * width + column) * channels + first_channel;
                const uchar16 value = *(__global const uchar16_unaligned *)(input + at);
                largest = value > largest ? value : largest;
            }
        store(largest, output + (row * out_width + x) * channels + first_channel, channels - first_channel);
    }
}

// One work item makes 16 channels of an image.
__kernel void global_average_pool(
    int images, __global const uchar *input, __global const float8 *multiplier, __global uchar *output,
    int positions, int channels)
{
    const int image = get_global_id(0);
    const int block = get_global_id(1);
    const int first_channel = block * LANES;
    int8 low = 0;
    int8 high = 0;
    for (int position = 0; position < positions; position++) {
        const int at = (image * positions + position) * channels + first_channel;
        const uchar16 value = *(__global const uchar16_unaligned *)(input + at);
        low += convert_int8(value.lo);
        high += convert_int8(value.hi);
    }
    const uchar8 y_low = requantise(convert_float8(low), multiplier[2 * block], 0.0f);
    const uchar8 y_high = requantise(convert_float8(high), multiplier[2 * block + 1], 0.0f);
    store((uchar16)(y_low, y_high), output + image * channels + first_channel, channels - first_channel);
}

// One work item makes 16 logits of PIXELS images.
__kernel void dense(
    int images, __global const uchar *input, __global const char16 *weights, __global const int8 *bias,
    __global const float8 *multiplier, __global float *output, int channels, int classes)
{
    const int first_image = get_global_id(0) * PIXELS;
    const int last_image = min(first_image + PIXELS, images) - 1;
    const int block = get_global_id(1);

    sums_t sums[PIXELS];
    for (int p = 0; p < PIXELS; p++) {
        sums[p].low = bias[2 * block];
        sums[p].high = bias[2 * block + 1];
    }
    float tile[PIXELS][TILE + LANES];
    for (int start = 0; start < channels; start += TILE) {
        const int count = min(TILE, channels - start);
        for (int p = 0; p < PIXELS; p++)
            widen(tile[p], input + min(first_image + p, last_image) * channels + start, count);
        accumulate(sums, tile, weights + (size_t)block * channels + start, count);
    }
    for (int image = first_image; image <= last_image; image++) {
        float logits[LANES];
        *(float8_unaligned *)logits = convert_float8(sums[image - first_image].low) * multiplier[2 * block];
        *(float8_unaligned *)(logits + 8) = convert_float8(sums[image - first_image].high) * multiplier[2 * block + 1];
        const int first_class = block * LANES;
        for (int i = 0; i < min(LANES, classes - first_class); i++)
            output[image * classes + first_class + i] = logits[i];
    }
}
