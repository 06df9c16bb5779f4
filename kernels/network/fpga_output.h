// `requantise` and `pool`: from sums to what is stored, by the formulas of spark_accel/networks/plan.py.

inline word_t requantised(const int *sums, const word_t *residual, const parameters_t *by)
{
    word_t word;
    #pragma unroll
    for (int l = 0; l < LANES; l++) {
        const int total =
            sums[l] + by->bias[l] + residual->part[l / VEC].v[l % VEC] * by->residual_multiplier[l];
        // clamped before the zero point is added, which would overflow at the largest int
        const int rounded = clamp(convert_int_sat(rint((float)total * by->multiplier[l])), -255, 255);
        word.part[l / VEC].v[l % VEC] = saturated(rounded + by->zero_point[l]);
    }
    return word;
}

// Of the last layer, which is dense, the sums become logits: float [image][channel], in external memory.
STAGE void requantise(__global const step_t *restrict steps, int count, int images,
                      __global const parameters_t *restrict parameters, __global float *restrict logits)
{
    for (int s = 0; s < count; s++) {
        const step_t step = steps[s];
        const int n = step.kind == LOAD ? 0 : images_of(step.image, images);
        const int segments = n * step.rows * step.segments;
        for (int tile = 0; tile < step.tiles; tile++) {
            const parameters_t by = parameters[step.parameters + tile];
            for (int segment = 0; segment < segments; segment++) {
                residuals_t kept;
                if (step.residual >= 0) {
                    TAKE(residuals, kept);
                }
                for (int m = 0; m < MESSAGES; m++) {
                    sums_t message;
                    TAKE(sums, message);
                    pixels_t result;
                    #pragma unroll
                    for (int d = 0; d < DRAIN; d++)
                        result.pixel[d] = requantised(message.v[d], &kept.pixel[d], &by);
                    #pragma unroll
                    for (int p = 0; p < PIX - DRAIN; p++)
                        kept.pixel[p] = kept.pixel[p + DRAIN];
                    if (step.kind != DENSE) {
                        SEND(pixels, result);
                    } else if (m == 0) {
                        #pragma unroll
                        for (int l = 0; l < LANES; l++)
                            logits[(segment * step.tiles + tile) * LANES + l] =
                                (float)(message.v[0][l] + by.bias[l]) * by.multiplier[l];
                    }
                }
            }
        }
    }
}

typedef struct { int v[LANES]; } totals_t;

inline word_t larger(word_t one, word_t other, bool counts)
{
    #pragma unroll
    for (int l = 0; l < LANES; l++)
        one.part[l / VEC].v[l % VEC] =
            counts ? max(one.part[l / VEC].v[l % VEC], other.part[l / VEC].v[l % VEC]) : one.part[l / VEC].v[l % VEC];
    return one;
}

// Pixels come row by row. A maximum over a window is kept in parts: over the columns of the window in each row, then
// over the rows, of which WINDOW - 1 are kept. For each message that comes one goes, whether there is something to
// store or not: `maps` counts them.
STAGE void pool(__global const step_t *restrict steps, int count, int images,
                __global const parameters_t *restrict parameters)
{
    __local word_t lines[WINDOW - 1][POOL_COLUMNS];
    for (int s = 0; s < count; s++) {
        const step_t step = steps[s];
        const int n = step.kind == CONVOLUTION ? images_of(step.image, images) : 0;
        for (int tile = 0; tile < step.tiles; tile++) {
            const parameters_t by = parameters[step.parameters + tile];
            for (int image = 0; image < n; image++) {
                totals_t total;
                #pragma unroll
                for (int l = 0; l < LANES; l++)
                    total.v[l] = 0;
                int pooled_row = 0;
                for (int row = 0; row < step.rows; row++) {
                    word_t before[WINDOW - 1]; // the pixels left of this one
                    int pooled_column = 0;
                    const int first_row = pooled_row * step.pool_stride_rows - step.pool_top;
                    const bool row_ends = row == min(first_row + step.pool_rows, step.rows) - 1;
                    for (int m = 0; m < step.segments * MESSAGES; m++) {
                        const int segment = m / MESSAGES, message_number = m % MESSAGES;
                        pixels_t message;
                        TAKE(pixels, message);
                        stored_t result;
                        #pragma unroll
                        for (int d = 0; d < DRAIN; d++) {
                            const int p = message_number * DRAIN + d, column = segment * PIX + p;
                            const bool inside = p < PIX && column < step.columns;
                            word_t word = message.pixel[d];
                            int place = 0; // from the image's first word on, a word a tile
                            result.bank[d] = -1;
                            if (step.pool == NO_POOL && inside) {
                                result.bank[d] = p;
                                place = row * step.segments + segment;
                            }
                            if (step.pool == AVERAGE_POOL && inside) {
                                #pragma unroll
                                for (int l = 0; l < LANES; l++) {
                                    total.v[l] += word.part[l / VEC].v[l % VEC];
                                    word.part[l / VEC].v[l % VEC] = saturated(
                                        convert_int_sat(rint((float)total.v[l] * by.average_multiplier[l])));
                                }
                                if (row == step.rows - 1 && column == step.columns - 1)
                                    result.bank[d] = 0;
                            }
                            if (step.pool == MAX_POOL && inside) {
                                const int first = pooled_column * step.pool_stride_columns - step.pool_left;
                                word_t widest = word;
                                #pragma unroll
                                for (int b = 0; b < WINDOW - 1; b++)
                                    widest = larger(widest, before[b], column - 1 - b >= max(first, 0));
                                #pragma unroll
                                for (int b = WINDOW - 2; b > 0; b--)
                                    before[b] = before[b - 1];
                                before[0] = word;
                                word = widest;
                                if (column == min(first + step.pool_columns, step.columns) - 1
                                    && pooled_column < step.out_columns) {
                                    #pragma unroll
                                    for (int b = 0; b < WINDOW - 1; b++)
                                        word = larger(word, lines[b][pooled_column], row - 1 - b >= max(first_row, 0));
                                    #pragma unroll
                                    for (int b = WINDOW - 2; b > 0; b--)
                                        lines[b][pooled_column] = lines[b - 1][pooled_column];
                                    lines[0][pooled_column] = widest;
                                    if (row_ends && pooled_row < step.out_rows) {
                                        result.bank[d] = pooled_column % PIX;
                                        place = pooled_row * step.out_segments + pooled_column / PIX;
                                    }
                                    pooled_column++;
                                }
                            }
                            result.pixel[d] = word;
                            result.word[d] = step.out + image * step.out_image + place * step.tiles + tile;
                        }
                        SEND(stored, result);
                    }
                    pooled_row += row_ends;
                }
            }
        }
    }
}
