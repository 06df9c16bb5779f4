// 3x3 convolutions that go pixel by pixel, by F(4x4, 3x3) of Lavin and Gray, Fast Algorithms for Convolutional Neural
// Networks (2016): 36 products an input channel for 4 x 4 outputs, in the place of 144.
//
// In integers it is exact. The rows of the weights' matrix, which has fractions, are multiplied by 4, 6, 6, 24, 24 and 1,
// the outputs' matrix makes up for that: it gives 24, 12, 6 and 6 times the outputs, in two dimensions 9 times 4 to 64
// times. Sums may wrap around on the way: 9 is undone by its inverse modulo 2^32, and 64 times the outputs fit
// (`winograd.py` sees to that). Transformed inputs are at most 68 * 255, weights 49 * 128: they are shorts.
#define INPUTS (SIDE + 2)  // of a unit's side
#define POSITIONS (INPUTS * INPUTS)
#define INVERSE_OF_9 954437177u  // modulo 2^32
#define POSITION_SLACK 32        // shorts between positions, which would share a set of the cache else

typedef uint uintv __attribute__((ext_vector_type(LANES)));

// Where the inputs of a unit lie, or what stands for those outside.
HELPER void find_inputs(
    const layer_t *layer, __global const uchar *input, __global const uchar *pad_value, int unit,
    __global const uchar *found[POSITIONS])
{
    const int image = unit / unit_columns(layer) / unit_rows(layer);
    const int top = unit / unit_columns(layer) % unit_rows(layer) * SIDE - layer->pad_top;
    const int left = unit % unit_columns(layer) * SIDE - layer->pad_left;
    for (int y = 0; y < INPUTS; y++)
        for (int x = 0; x < INPUTS; x++) {
            const int inside =
                top + y >= 0 && top + y < layer->height && left + x >= 0 && left + x < layer->width;
            const int at = ((image * layer->height + top + y) * layer->width + left + x) * layer->channels;
            found[INPUTS * y + x] = inside ? input + at : pad_value;
        }
}

HELPER void transform_six(const shortv *in, int step, shortv *out)
{
    const shortv a = in[0], b = in[step], c = in[2 * step], d = in[3 * step], e = in[4 * step], f = in[5 * step];
    out[0] = ((a - c) << 2) + (e - c);
    out[step] = (d + e) - ((b + c) << 2);
    out[2 * step] = ((b - c) << 2) + (e - d);
    out[3 * step] = (e - c) + ((d - b) << 1);
    out[4 * step] = (e - c) - ((d - b) << 1);
    out[5 * step] = (f - d) - ((d - b) << 2);
}

// Inputs of the units `first` to `last` - 1 as `to` [POSITIONS][units][channels].
INNER void transform_inputs(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int first, int last,
    long position_elements, __global short *to)
{
    __global const uchar *input = input_of(layer, batch);
    for (int unit = first; unit < last; unit++, to += layer->channels) {
        __global const uchar *from[POSITIONS];
        find_inputs(layer, input, constants + layer->pad_value, unit, from);
        for (int channel = 0; channel < layer->channels; channel += PANEL) {
            shortv values[POSITIONS];
            #pragma unroll
            for (int i = 0; i < POSITIONS; i++)
                values[i] = __builtin_convertvector(
                    *(__global const panel_bytes_unaligned *)(from[i] + channel), shortv);
            #pragma unroll
            for (int x = 0; x < INPUTS; x++)
                transform_six(values + x, INPUTS, values + x);
            #pragma unroll
            for (int y = 0; y < INPUTS; y++)
                transform_six(values + INPUTS * y, 1, values + INPUTS * y);
            #pragma unroll
            for (int i = 0; i < POSITIONS; i++)
                *(__global shortv_unaligned *)(to + i * position_elements + channel) = values[i];
        }
    }
}

// 24, 12, 6 and 6 times the outputs of six sums.
HELPER void transform_sums(const uintv *in, int step, uintv *out, int out_step)
{
    const uintv sum = in[step] + in[2 * step], difference = in[step] - in[2 * step];
    const uintv second_sum = in[3 * step] + in[4 * step], second_difference = in[3 * step] - in[4 * step];
    const uintv first = in[0], last = in[5 * step];
    out[0] = ((first + sum) << 2) + (first << 1) + second_sum;
    out[out_step] = (difference << 1) + second_difference;
    out[2 * out_step] = sum + second_sum;
    out[3 * out_step] = difference + ((second_difference + last) << 1) + (last << 2);
}

// The sums of 4 x 4 outputs, [pixel][VECTORS], from those of a unit's positions, `apart` from each other.
HELPER void sums_of(
    const panel_t *panel, __global const intv_unaligned *from, long apart, intv sums[SIDE * SIDE][VECTORS])
{
    const int exponents[SIDE] = {3, 2, 1, 1};  // of the powers of 2 that the outputs' matrix multiplies by
    #pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        uintv rows[SIDE * INPUTS];
        #pragma unroll
        for (int x = 0; x < INPUTS; x++) {
            uintv column[INPUTS];
            #pragma unroll
            for (int y = 0; y < INPUTS; y++)
                column[y] = __builtin_astype((intv)from[(INPUTS * y + x) * apart + v], uintv);
            transform_sums(column, 1, rows + x, INPUTS);
        }
        #pragma unroll
        for (int y = 0; y < SIDE; y++) {
            uintv outputs[SIDE];
            transform_sums(rows + INPUTS * y, 1, outputs, 1);
            #pragma unroll
            for (int x = 0; x < SIDE; x++) {
                const intv multiplied = __builtin_astype(outputs[x] * INVERSE_OF_9, intv);
                sums[SIDE * y + x][v] = (multiplied >> (exponents[y] + exponents[x])) + panel->bias[v];
            }
        }
    }
}

// The panel's outputs of the units `first` to `last` - 1. `residual` is known to the compiler.
HELPER void finish_units(
    const layer_t *layer, const panel_t *panel, __global const intv_unaligned *from, int first, int last, int residual)
{
    const finish_t finish = finish_of(panel);
    for (int unit = first; unit < last; unit++, from += VECTORS) {
        const int image = unit / unit_columns(layer) / unit_rows(layer);
        const int top = unit / unit_columns(layer) % unit_rows(layer) * SIDE;
        const int left = unit % unit_columns(layer) * SIDE;
        const int rows = min(SIDE, layer->out_height - top), columns = min(SIDE, layer->out_width - left);
        intv sums[SIDE * SIDE][VECTORS];
        sums_of(panel, from, (long)(last - first) * VECTORS, sums);
        for (int y = 0; y < rows; y++) {
            const int pixel = (image * layer->out_height + top + y) * layer->out_width + left;
            for (int x = 0; x + 1 < columns; x += 2)
                finish_two(panel, &finish, pixel + x, residual, sums[SIDE * y + x], sums[SIDE * y + x + 1]);
            if (columns % 2)
                finish_one(panel, &finish, pixel + columns - 1, residual, sums[SIDE * y + columns - 1]);
        }
    }
}

INNER void finish_panel(
    const layer_t *layer, const panel_t *panel, __global const intv_unaligned *from, int first, int last)
{
    if (panel->residual)
        finish_units(layer, panel, from, first, last, 1);
    else
        finish_units(layer, panel, from, first, last, 0);
}

// Some units of some panels.
HELPER void winograd_tile(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int number, __global uchar *room)
{
    const tile_t tile = tile_of(layer, batch, number);
    const int units = tile.last - tile.first;
    const long position_elements = (long)units * layer->channels + POSITION_SLACK;
    __global intv_unaligned *sums = (__global intv_unaligned *)((__global short *)room + POSITIONS * position_elements);
    transform_inputs(layer, batch, constants, tile.first, tile.last, position_elements, (__global short *)room);
    for (int p = tile.first_panel; p < tile.last_panel; p++) {
        panel_t panel = panel_of(layer, batch, constants, p, layer->row_words * POSITIONS);
        panel.rows = 1;
        panel.row_words = layer->row_words;
        panel.row_bytes = 0;
        panel.stride = layer->row_words * 4L;
        panel.raw = sums;
        for (int i = 0; i < POSITIONS; i++) {
            multiply_shorts(&panel, room + i * position_elements * 2, 0, units);
            panel.weights += layer->row_words * VECTORS;
            panel.raw += units * VECTORS;
        }
        finish_panel(layer, &panel, sums, tile.first, tile.last);
    }
}
