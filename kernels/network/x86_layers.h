// Layers as the kernel reads them, what they are cut into, and where their inputs, outputs and windows lie.
enum { CONVOLUTION, MAX_POOL, GLOBAL_AVERAGE_POOL, DENSE };

// Where a layer's windows are read: where its inputs lie, or copies of them, window by window or in padded rows, which
// are WIDENED to shorts where there are PAIRS and that takes less time. With WINOGRAD there are none, see `x86_winograd.h`.
enum { IN_PLACE, COPIED_WINDOWS, COPIED_ROWS, WINOGRAD, WIDENED_ROWS };

// An activation's place in an arena: `before` bytes of those that have one image at a time, or, an image, of those that
// have all images of a group; -1: it is the images, or none.
typedef struct {
    int before;
    int of_group;
} place_t;

// A layer, as network_program.py writes it.
typedef struct {
    int kind;
    place_t input, output, residual;
    int height, width, channels, out_height, out_width, out_channels;
    int kernel_height, kernel_width, stride_y, stride_x, pad_top, pad_left;
    int weights, bias, multiplier, zero_point, pad_value, residual_multiplier;  // bytes before them in `constants`
    int starts, offsets;  // likewise, of LISTED words: each panel's first, [panels + 1], and where each word's inputs are
    int row_words;    // of the inputs that a kernel row meets, filled up
    int source;       // of windows
    int tile_units;   // at most: pixels, rows of them where rows are copied, Winograd's squares of 4 x 4
    int tile_panels;  // at most
} layer_t;

// Images that a layer is made for: `count` of a group from its `first` on.
typedef struct {
    __global const uchar *images;  // the group's
    __global uchar *arena;
    __global float *logits;
    int first;
    int count;
    int capacity;     // of the arena, in images
    int image_bytes;  // of an arena: all activations that have one image at a time
    int classes;
} batch_t;

// Of so many bytes an image.
HELPER __global uchar *activation(const batch_t *batch, place_t place, int bytes)
{
    if (place.of_group)
        return batch->arena + batch->image_bytes + (long)place.before * batch->capacity + (long)batch->first * bytes;
    return batch->arena + place.before;
}

HELPER __global const uchar *input_of(const layer_t *layer, const batch_t *batch)
{
    const int bytes = layer->height * layer->width * layer->channels;
    if (layer->input.before < 0)
        return batch->images + (long)batch->first * bytes;
    return activation(batch, layer->input, bytes);
}

HELPER int pixels_of(const layer_t *layer, const batch_t *batch)
{
    return batch->count * layer->out_height * layer->out_width;
}

HELPER int divided_up(int value, int by)
{
    return (value + by - 1) / by;
}

// What Winograd's outputs are cut into: SIDE x SIDE of them.
#define SIDE 4
HELPER int unit_rows(const layer_t *layer)
{
    return divided_up(layer->out_height, SIDE);
}

HELPER int unit_columns(const layer_t *layer)
{
    return divided_up(layer->out_width, SIDE);
}

HELPER int copies_rows(const layer_t *layer)
{
    return layer->source == COPIED_ROWS || layer->source == WIDENED_ROWS;
}

// What other layers' outputs are cut into, in pixels.
HELPER int unit_of(const layer_t *layer)
{
    return copies_rows(layer) ? layer->out_width : 1;
}

HELPER int units_of(const layer_t *layer, const batch_t *batch)
{
    if (layer->source == WINOGRAD)
        return batch->count * unit_rows(layer) * unit_columns(layer);
    return pixels_of(layer, batch) / unit_of(layer);
}

HELPER int tiles_of(const layer_t *layer, const batch_t *batch)
{
    if (layer->kind == MAX_POOL)
        return batch->count * layer->out_height;
    if (layer->kind == GLOBAL_AVERAGE_POOL)
        return batch->count;
    const int panels = divided_up(layer->out_channels, PANEL);
    return divided_up(units_of(layer, batch), layer->tile_units) * divided_up(panels, layer->tile_panels);
}

// The units and the panels of a tile, each from the first to the one before the last.
typedef struct {
    int first, last, first_panel, last_panel;
} tile_t;

HELPER tile_t tile_of(const layer_t *layer, const batch_t *batch, int number)
{
    const int panels = divided_up(layer->out_channels, PANEL);
    const int units = units_of(layer, batch);
    const int unit_tiles = divided_up(units, layer->tile_units);
    const int panel_tiles = divided_up(panels, layer->tile_panels);
    const int column = number % unit_tiles, row = number / unit_tiles;
    const tile_t tile = {
        (long)units * column / unit_tiles, (long)units * (column + 1) / unit_tiles,
        panels * row / panel_tiles, panels * (row + 1) / panel_tiles};
    return tile;
}

// Panel number `p`, with `depth` words for a channel; how windows lie is for the caller to say.
HELPER panel_t panel_of(const layer_t *layer, const batch_t *batch, __global const uchar *constants, int p, int depth)
{
    const int channel = p * PANEL;
    const int image_bytes = layer->out_height * layer->out_width * layer->out_channels;
    panel_t panel;
    long first_word = p * (long)depth;
    if (layer->offsets) {
        __global const int *starts = (__global const int *)(constants + layer->starts) + p;
        first_word = starts[0];
        panel.offsets = (__global const int *)(constants + layer->offsets) + first_word;
        panel.words = starts[1] - starts[0];
    }
    panel.weights = (__global const intv *)(constants + layer->weights) + first_word * VECTORS;
    panel.bias = (__global const intv *)(constants + layer->bias) + p * VECTORS;
    panel.multiplier = (__global const floatv *)(constants + layer->multiplier) + p * VECTORS;
    panel.zero_point = (__global const shortv *)(constants + layer->zero_point) + p;
    panel.residual_multiplier = (__global const intv *)(constants + layer->residual_multiplier) + p * VECTORS;
    panel.residual = layer->residual.before < 0 ? 0 : activation(batch, layer->residual, image_bytes) + channel;
    panel.output = activation(batch, layer->output, image_bytes) + channel;
    panel.logits = layer->kind == DENSE ? batch->logits + (long)batch->first * batch->classes + channel : 0;
    panel.channels = layer->out_channels;
    panel.stored = layer->out_channels - channel;
    return panel;
}

// Copies the inputs of pixels `first` to `last` - 1, with what stands for those outside, side by side to `windows`.
HELPER void copy_windows(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int first, int last,
    __global uchar *windows)
{
    __global const uchar *input = input_of(layer, batch);
    __global const uchar *pad_value = constants + layer->pad_value;
    const int row = layer->kernel_width * layer->channels;
    int x = first % layer->out_width;
    int y = first / layer->out_width % layer->out_height;
    int image = first / layer->out_width / layer->out_height;
    for (int pixel = first; pixel < last; pixel++) {
        const int left = x * layer->stride_x - layer->pad_left;
        for (int ky = 0; ky < layer->kernel_height; ky++) {
            const int from_y = y * layer->stride_y - layer->pad_top + ky;
            const int y_inside = from_y >= 0 && from_y < layer->height;
            __global const uchar *from = input + ((image * layer->height + from_y) * layer->width + left) * layer->channels;
            if (y_inside && left >= 0 && left + layer->kernel_width <= layer->width) {
                copy(windows, from, row);
            } else {
                for (int kx = 0; kx < layer->kernel_width; kx++) {
                    const int inside = y_inside && left + kx >= 0 && left + kx < layer->width;
                    copy(windows + kx * layer->channels, inside ? from + kx * layer->channels : pad_value, layer->channels);
                }
            }
            windows += layer->row_words * 4;
        }
        if (++x == layer->out_width) {
            x = 0;
            if (++y == layer->out_height) {
                y = 0;
                image++;
            }
        }
    }
}

// Of the inputs that a row of outputs meets, with what stands for those outside.
HELPER int row_bytes_of(const layer_t *layer)
{
    return ((layer->out_width - 1) * layer->stride_x + layer->kernel_width) * layer->channels;
}

HELPER void pad(__global uchar *to, __global const uchar *pad_value, int pixels, int channels)
{
    for (int x = 0; x < pixels; x++)
        copy(to + x * channels, pad_value, channels);
}

// Copies the inputs of the rows `first` to `last` - 1 of outputs to `rows`, for each a row for each one of the kernel.
HELPER void copy_rows(
    const layer_t *layer, const batch_t *batch, __global const uchar *constants, int first, int last,
    __global uchar *rows)
{
    __global const uchar *input = input_of(layer, batch);
    __global const uchar *pad_value = constants + layer->pad_value;
    const int channels = layer->channels;
    const int row_bytes = row_bytes_of(layer);
    const int pixels = row_bytes / channels;
    const int inside = min(layer->width, pixels - layer->pad_left);
    for (int row = first; row < last; row++) {
        const int image = row / layer->out_height;
        const int top = row % layer->out_height * layer->stride_y - layer->pad_top;
        for (int y = top; y < top + layer->kernel_height; y++, rows += row_bytes) {
            if (y < 0 || y >= layer->height) {
                pad(rows, pad_value, pixels, channels);
                continue;
            }
            pad(rows, pad_value, layer->pad_left, channels);
            copy(rows + layer->pad_left * channels, input + (image * layer->height + y) * layer->width * channels,
                 inside * channels);
            const int filled = layer->pad_left + inside;
            pad(rows + filled * channels, pad_value, pixels - filled, channels);
        }
    }
}
