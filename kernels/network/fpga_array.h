// `weights` and `array`: the products.

// Sends a tile's weights once for each segment of its pixels. They lie on the chip, twice: while one tile's are sent
// the next one's arrive from external memory, across layers, too.
STAGE void weights(__global const step_t *restrict steps, int count, int images,
                   __global const weights_t *restrict words)
{
    __local weights_t kept[2][WEIGHT_WORDS];
    int now = 0, arrived = 0; // of the tile that is sent next
    for (int s = 0; s < count; s++) {
        const step_t step = steps[s];
        const int n = images_of(step.image, images);
        if (step.kind == LOAD || !n)
            continue;
        const int size = step.kernel_rows * step.kernel_columns * step.blocks;
        const int times = n * step.rows * step.segments;
        // what follows the last tile
        int next = s + 1;
        while (next < count && (steps[next].kind == LOAD || !images_of(steps[next].image, images)))
            next++;
        step_t following = step;
        if (next < count)
            following = steps[next];
        const int following_size =
            next < count ? following.kernel_rows * following.kernel_columns * following.blocks : 0;
        for (int tile = 0; tile < step.tiles; tile++) {
            const int base = step.weights + tile * size;
            for (; arrived < size; arrived++)
                kept[now][arrived] = words[base + arrived];
            const bool last = tile == step.tiles - 1;
            const int next_base = last ? following.weights : base + size;
            const int next_size = last ? following_size : size;
            arrived = 0;
            int word = 0;
            for (int i = 0; i < times * size; i++) {
                const weights_t sent = kept[now][word];
                if (arrived < next_size) {
                    kept[1 - now][arrived] = words[next_base + arrived];
                    arrived++;
                }
                word = word == size - 1 ? 0 : word + 1;
                SEND(multipliers, sent);
            }
            now = 1 - now;
        }
    }
}

// A segment's sums are complete after a beat for each position of the window and each block of channels. They leave
// while the next segment is summed, which waits for them where it has fewer beats.
STAGE void array(__global const step_t *restrict steps, int count, int images, __global uint *restrict trips)
{
    int summed[PIX][LANES], done[PIX][LANES];
    for (int s = 0; s < count; s++) {
        const step_t step = steps[s];
        const int n = images_of(step.image, images);
        uint counted = 0;
        if (step.kind != LOAD && n) {
            const int size = step.kernel_rows * step.kernel_columns * step.blocks;
            const int length = max(size, MESSAGES);
            const int segments = step.tiles * n * step.rows * step.segments;
            int beat_number = 0, segment = 0;
            while (segment < segments || beat_number < MESSAGES) {
                if (segment < segments && beat_number < size) {
                    beat_t beat;
                    weights_t by;
                    TAKE(beats, beat);
                    TAKE(multipliers, by);
                    #pragma unroll
                    for (int p = 0; p < PIX; p++)
                        #pragma unroll
                        for (int l = 0; l < LANES; l++) {
                            int products = 0;
                            #pragma unroll
                            for (int v = 0; v < VEC; v++)
                                products += (int)beat.pixel[p].v[v] * (int)by.v[l][v];
                            summed[p][l] = (beat_number ? summed[p][l] : 0) + products;
                        }
                }
                if (segment && beat_number < MESSAGES) {
                    sums_t message;
                    #pragma unroll
                    for (int d = 0; d < DRAIN; d++)
                        #pragma unroll
                        for (int l = 0; l < LANES; l++)
                            message.v[d][l] = done[d][l];
                    SEND(sums, message);
                    #pragma unroll
                    for (int p = 0; p < PIX - DRAIN; p++)
                        #pragma unroll
                        for (int l = 0; l < LANES; l++)
                            done[p][l] = done[p + DRAIN][l];
                }
                counted++;
                beat_number++;
                if (segment < segments && beat_number == length) {
                    #pragma unroll
                    for (int p = 0; p < PIX; p++)
                        #pragma unroll
                        for (int l = 0; l < LANES; l++)
                            done[p][l] = summed[p][l];
                    beat_number = 0;
                    segment++;
                }
            }
        }
        trips[s] = counted;
    }
}
