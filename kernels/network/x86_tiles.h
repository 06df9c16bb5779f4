// Tiles: what a thread makes on its own of a layer's outputs.

// A row of pixels, whose copied inputs start at `windows`.
HELPER void multiply_row(
    const layer_t *layer, const panel_t *panel, __global const uchar *windows, int pixel, int count)
{
#ifdef PAIRS
    if (layer->source == WIDENED_ROWS) {
        multiply_widened(panel, windows, pixel, count);
        return;
    }
#endif
    multiply_bytes(panel, windows, pixel, count);
}

// Some pixels of some panels.
HELPER void multiply_tile(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int number, __global uchar *room)
{
    const tile_t tile = tile_of(layer, batch, number);
    const int depth = layer->row_words * layer->kernel_height;
    int rows = 1, row_words = depth;
    long row_bytes = 0, stride = depth * 4L;
    __global const uchar *windows = room;
    if (layer->source == IN_PLACE) {
        windows = input_of(layer, batch) + tile.first * stride;
    } else if (layer->source == COPIED_WINDOWS) {
        copy_windows(layer, batch, constants, tile.first, tile.last, room);
    } else {
        rows = layer->kernel_height;
        row_words = layer->row_words;
        row_bytes = row_bytes_of(layer);
        stride = layer->stride_x * layer->channels;
        if (layer->source == COPIED_ROWS) {
            copy_rows(layer, batch, constants, tile.first, tile.last, room);
        } else {
            const long bytes = (long)(tile.last - tile.first) * rows * row_bytes;
            copy_rows(layer, batch, constants, tile.first, tile.last, room + 2 * bytes);
            widen_all((__global short *)room, room + 2 * bytes, bytes);
            row_bytes *= 2;
            stride *= 2;
        }
    }

    const int unit = unit_of(layer);
    for (int p = tile.first_panel; p < tile.last_panel; p++) {
        panel_t panel = panel_of(layer, batch, constants, p, depth);
        panel.rows = rows;
        panel.row_words = row_words;
        panel.row_bytes = row_bytes;
        panel.stride = stride;
        if (copies_rows(layer))
            for (int row = tile.first; row < tile.last; row++)
                multiply_row(layer, &panel, windows + (row - tile.first) * rows * row_bytes, row * unit, unit);
        else
            multiply_bytes(&panel, windows, tile.first, tile.last - tile.first);
    }
}

// A row of an image.
HELPER void max_pool_tile(const layer_t *layer, const batch_t *batch, int row)
{
    __global const uchar *input = input_of(layer, batch);
    const int row_bytes = layer->out_width * layer->channels;
    __global uchar *output = activation(batch, layer->output, layer->out_height * row_bytes) + row * row_bytes;
    const int image = row / layer->out_height;
    const int top = row % layer->out_height * layer->stride_y - layer->pad_top;
    const int last_y = min(top + layer->kernel_height, layer->height);
    for (int x = 0; x < layer->out_width; x++) {
        const int left = x * layer->stride_x - layer->pad_left;
        const int last_x = min(left + layer->kernel_width, layer->width);
        for (int channel = 0; channel < layer->channels; channel += BYTES) {
            bytev largest = (bytev)(0);
            for (int y = max(top, 0); y < last_y; y++)
                for (int column = max(left, 0); column < last_x; column++) {
                    const int at = ((image * layer->height + y) * layer->width + column) * layer->channels + channel;
                    const bytev value = *(__global const bytev_unaligned *)(input + at);
                    largest = value > largest ? value : largest;
                }
            store_more_bytes(largest, output + x * layer->channels + channel, layer->channels - channel);
        }
    }
}

// An image.
HELPER void global_average_pool_tile(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int image)
{
    const int positions = layer->height * layer->width;
    __global const uchar *input = input_of(layer, batch) + image * positions * layer->channels;
    __global const floatv *multiplier = (__global const floatv *)(constants + layer->multiplier);
    __global uchar *output = activation(batch, layer->output, layer->channels) + image * layer->channels;
    for (int channel = 0; channel < layer->channels; channel += PANEL) {
        intv totals[VECTORS] = {(intv)(0), (intv)(0)};
        for (int position = 0; position < positions; position++) {
            intv words[VECTORS];
            widen(*(__global const panel_bytes_unaligned *)(input + position * layer->channels + channel), words);
            for (int v = 0; v < VECTORS; v++)
                totals[v] += words[v];
        }
        const floatv multipliers[VECTORS] = {multiplier[channel / LANES], multiplier[channel / LANES + 1]};
        const shortv values = requantise(totals, multipliers, (shortv)(0));
        store_bytes(saturated(values, values).lo, output + channel, layer->channels - channel);
    }
}

INNER void make_tile(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int tile, __global uchar *room)
{
    if (layer->kind == MAX_POOL)
        max_pool_tile(layer, batch, tile);
    else if (layer->kind == GLOBAL_AVERAGE_POOL)
        global_average_pool_tile(layer, batch, constants, tile);
    else if (layer->source == WINOGRAD)
        winograd_tile(layer, batch, constants, tile, room);
    else
        multiply_tile(layer, batch, constants, tile, room);
}
