// The layers, cut into tiles: what a thread makes on its own of a layer's outputs.
enum { CONVOLUTION, MAX_POOL, GLOBAL_AVERAGE_POOL, DENSE };

// A layer, as network_program.py writes it.
typedef struct {
    int kind;
    int input, output, residual;  // activations: bytes an image before them in the arena; -1: the images, or none
    int height, width, channels, out_height, out_width, out_channels;
    int kernel_height, kernel_width, stride_y, stride_x, pad_top, pad_left;
    int weights, bias, multiplier, zero_point, pad_value, residual_multiplier;  // bytes before them in `constants`
    int row_words;    // of the inputs that a kernel row meets, filled up
    int in_place;     // windows are read where they lie, not copied first
    int tile_pixels;  // at most
    int tile_panels;  // at most
} layer_t;

// The images that a phase is about.
typedef struct {
    __global const uchar *images;
    __global uchar *arena;  // their activations
    __global float *logits;
    int count;
    int capacity;  // of the arena, in images
} group_t;

HELPER __global uchar *activation(const group_t *group, int before)
{
    return group->arena + (long)before * group->capacity;
}

HELPER __global const uchar *input_of(const layer_t *layer, const group_t *group)
{
    return layer->input < 0 ? group->images : activation(group, layer->input);
}

HELPER int pixels_of(const layer_t *layer, const group_t *group)
{
    return group->count * layer->out_height * layer->out_width;
}

HELPER int divided_up(int value, int by)
{
    return (value + by - 1) / by;
}

HELPER int tiles_of(const layer_t *layer, const group_t *group)
{
    if (layer->kind == MAX_POOL)
        return group->count * layer->out_height;
    if (layer->kind == GLOBAL_AVERAGE_POOL)
        return group->count;
    const int panels = divided_up(layer->out_channels, PANEL);
    return divided_up(pixels_of(layer, group), layer->tile_pixels) * divided_up(panels, layer->tile_panels);
}

// Copies the inputs of pixels `first` to `last` - 1, with what stands for those outside, side by side to `windows`.
HELPER void copy_windows(
    const layer_t *layer, const group_t *group, __global const uchar *constants, int first, int last,
    __global element *windows)
{
    __global const uchar *input = input_of(layer, group);
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
            windows += layer->row_words * GROUP;
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

// Some pixels of some panels.
HELPER void multiply_tile(
    const layer_t *layer, const group_t *group, __global const uchar *constants, int tile, __global element *room)
{
    const int panels = divided_up(layer->out_channels, PANEL);
    const int pixels = pixels_of(layer, group);
    const int pixel_tiles = divided_up(pixels, layer->tile_pixels);
    const int panel_tiles = divided_up(panels, layer->tile_panels);
    const int first = (long)pixels * (tile % pixel_tiles) / pixel_tiles;
    const int last = (long)pixels * (tile % pixel_tiles + 1) / pixel_tiles;
    const int first_panel = panels * (tile / pixel_tiles) / panel_tiles;
    const int last_panel = panels * (tile / pixel_tiles + 1) / panel_tiles;

    const int depth = layer->row_words * layer->kernel_height;
    const long stride = depth * 4L;
    __global const uchar *windows = (__global const uchar *)room;
    if (layer->in_place)
        windows = input_of(layer, group) + first * stride;
    else
        copy_windows(layer, group, constants, first, last, room);

    panel_t panel;
    panel.depth = depth;
    panel.channels = layer->out_channels;
    for (int p = first_panel; p < last_panel; p++) {
        const int channel = p * PANEL;
        panel.stored = layer->out_channels - channel;
        panel.weights = (__global const intv *)(constants + layer->weights + channel * stride);
        panel.bias = (__global const intv *)(constants + layer->bias) + p * VECTORS;
        panel.multiplier = (__global const floatv *)(constants + layer->multiplier) + p * VECTORS;
        panel.zero_point = (__global const intv *)(constants + layer->zero_point) + p * VECTORS;
        panel.residual_multiplier = (__global const intv *)(constants + layer->residual_multiplier) + p * VECTORS;
        panel.residual = layer->residual < 0 ? 0 : activation(group, layer->residual) + channel;
        panel.output = activation(group, layer->output) + channel;
        panel.logits = layer->kind == DENSE ? group->logits + channel : 0;
        multiply(&panel, windows, stride, first, last - first);
    }
}

// A row of an image.
HELPER void max_pool_tile(const layer_t *layer, const group_t *group, int row)
{
    __global const uchar *input = input_of(layer, group);
    __global uchar *output = activation(group, layer->output) + row * layer->out_width * layer->channels;
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
    const layer_t *layer, const group_t *group, __global const uchar *constants, int image)
{
    const int positions = layer->height * layer->width;
    __global const uchar *input = input_of(layer, group) + image * positions * layer->channels;
    __global const floatv *multiplier = (__global const floatv *)(constants + layer->multiplier);
    __global uchar *output = activation(group, layer->output) + image * layer->channels;
    for (int channel = 0; channel < layer->channels; channel += PANEL) {
        intv totals[VECTORS] = {(intv)(0), (intv)(0)};
        for (int position = 0; position < positions; position++) {
            intv words[VECTORS];
            widen(*(__global const panel_bytes_unaligned *)(input + position * layer->channels + channel), words);
            for (int v = 0; v < VECTORS; v++)
                totals[v] += words[v];
        }
        for (int v = 0; v < VECTORS; v++)
            totals[v] = requantise(totals[v], multiplier[channel / LANES + v], (intv)(0));
        store_bytes(narrow_saturated(totals), output + channel, layer->channels - channel);
    }
}

INNER void make_tile(
    const layer_t *layer, const group_t *group, __global const uchar *constants, int tile, __global element *room)
{
    if (layer->kind == MAX_POOL)
        max_pool_tile(layer, group, tile);
    else if (layer->kind == GLOBAL_AVERAGE_POOL)
        global_average_pool_tile(layer, group, constants, tile);
    else
        multiply_tile(layer, group, constants, tile, room);
}
