// 3x3 convolutions that go pixel by pixel, by F(2x2, 3x3) of Lavin and Gray, Fast Algorithms for Convolutional Neural
// Networks (2016): 16 products an input channel for 2 x 2 outputs, in the place of 36.
//
// In integers it is exact. Weights come transformed by twice their matrix, which has halves else, so that sums are 4 times
// what they should be: they may wrap around on the way, since the last ones fit (`winograd.py` sees to that).
// Transformed inputs have 10 bits and a sign, weights 11: they are shorts.
#define POSITIONS 16  // of a unit: 4 x 4 inputs, of which 2 x 2 outputs are made

typedef uint uintv __attribute__((ext_vector_type(LANES)));

// Where the inputs of a unit lie, or what stands for those outside.
HELPER void find_inputs(
    const layer_t *layer, __global const uchar *input, __global const uchar *pad_value, int unit,
    __global const uchar *found[4][4])
{
    const int image = unit / unit_columns(layer) / unit_rows(layer);
    const int top = unit / unit_columns(layer) % unit_rows(layer) * 2 - layer->pad_top;
    const int left = unit % unit_columns(layer) * 2 - layer->pad_left;
    for (int y = 0; y < 4; y++)
        for (int x = 0; x < 4; x++) {
            const int inside =
                top + y >= 0 && top + y < layer->height && left + x >= 0 && left + x < layer->width;
            const int at = ((image * layer->height + top + y) * layer->width + left + x) * layer->channels;
            found[y][x] = inside ? input + at : pad_value;
        }
}

HELPER void transform_four(const shortv *in, int step, shortv *out)
{
    const shortv a = in[0], b = in[step], c = in[2 * step], d = in[3 * step];
    out[0] = a - c;
    out[step] = b + c;
    out[2 * step] = c - b;
    out[3 * step] = b - d;
}

// Inputs of the units `first` to `last` - 1 as `to` [POSITIONS][units][channels].
INNER void transform_inputs(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int first, int last,
    __global short *to)
{
    __global const uchar *input = input_of(layer, batch);
    const long position_elements = (long)(last - first) * layer->channels;
    for (int unit = first; unit < last; unit++, to += layer->channels) {
        __global const uchar *from[4][4];
        find_inputs(layer, input, constants + layer->pad_value, unit, from);
        for (int channel = 0; channel < layer->channels; channel += PANEL) {
            shortv values[POSITIONS];
            #pragma unroll
            for (int i = 0; i < POSITIONS; i++)
                values[i] = __builtin_convertvector(
                    *(__global const panel_bytes_unaligned *)(from[i / 4][i % 4] + channel), shortv);
            #pragma unroll
            for (int x = 0; x < 4; x++)
                transform_four(values + x, 4, values + x);
            #pragma unroll
            for (int y = 0; y < 4; y++)
                transform_four(values + 4 * y, 1, values + 4 * y);
            #pragma unroll
            for (int i = 0; i < POSITIONS; i++)
                *(__global shortv_unaligned *)(to + i * position_elements + channel) = values[i];
        }
    }
}

// The sums of 2 x 2 outputs, [pixel][VECTORS], from those of a unit's positions, `units` times VECTORS apart.
HELPER void transform_sums(const panel_t *panel, __global const intv_unaligned *from, int units, intv sums[4][VECTORS])
{
    #pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        uintv rows[2][4];
        #pragma unroll
        for (int x = 0; x < 4; x++) {
            uintv column[4];
            #pragma unroll
            for (int y = 0; y < 4; y++)
                column[y] = __builtin_astype((intv)from[(long)(4 * y + x) * units * VECTORS + v], uintv);
            rows[0][x] = column[0] + column[1] + column[2];
            rows[1][x] = column[1] - column[2] - column[3];
        }
        #pragma unroll
        for (int y = 0; y < 2; y++) {
            const uintv left = rows[y][0] + rows[y][1] + rows[y][2];
            const uintv right = rows[y][1] - rows[y][2] - rows[y][3];
            sums[2 * y][v] = (__builtin_astype(left, intv) >> 2) + panel->bias[v];
            sums[2 * y + 1][v] = (__builtin_astype(right, intv) >> 2) + panel->bias[v];
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
        const int y = unit / unit_columns(layer) % unit_rows(layer) * 2;
        const int x = unit % unit_columns(layer) * 2;
        int pixel = (image * layer->out_height + y) * layer->out_width + x;
        intv sums[4][VECTORS];
        transform_sums(panel, from, last - first, sums);
        #pragma unroll
        for (int row = 0; row < 2; row++, pixel += layer->out_width)
            if (y + row >= layer->out_height)
                continue;
            else if (x + 1 < layer->out_width)
                finish_two(panel, &finish, pixel, residual, sums[2 * row], sums[2 * row + 1]);
            else
                finish_one(panel, &finish, pixel, residual, sums[2 * row]);
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
    const long position_bytes = (long)units * layer->channels * 2;
    __global intv_unaligned *sums = (__global intv_unaligned *)(room + POSITIONS * position_bytes);
    transform_inputs(layer, batch, constants, tile.first, tile.last, (__global short *)room);
    for (int p = tile.first_panel; p < tile.last_panel; p++) {
        panel_t panel = panel_of(layer, batch, constants, p, layer->row_words * POSITIONS);
        panel.rows = 1;
        panel.row_words = layer->row_words;
        panel.row_bytes = 0;
        panel.stride = layer->row_words * 4L;
        panel.raw = sums;
        for (int i = 0; i < POSITIONS; i++) {
            multiply_shorts(&panel, room + i * position_bytes, 0, units);
            panel.weights += layer->row_words * VECTORS;
            panel.raw += units * VECTORS;
        }
        finish_panel(layer, &panel, sums, tile.first, tile.last);
    }
}
