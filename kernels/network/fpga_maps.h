// `maps`: the activations on the chip. Feeds the array and stores what comes back.

// The input words of PIX pixels, a stride apart, for one position of the window. Each bank is read once: no two of the
// pixels lie in the same one, since PIX and the stride have no common divisor.
inline beat_t beat_at(__local word_t (*memory)[WORDS], const step_t *step, int in, int row, int first, int block,
                      vec_t pad)
{
    const int group = block / PARTS, part = block % PARTS;
    const bool row_inside = row >= 0 && row < step->in_rows;
    const int line = in + (row_inside ? row : 0) * step->in_segments * step->in_groups + group;
    const uint turn = (uint)(first + FAR) % PIX;
    vec_t found[PIX];
    #pragma unroll
    for (uint b = 0; b < PIX; b++) {
        const uint p = (b + PIX - turn) * (uint)step->stride_inverse % PIX; // whose column lies in this bank
        const int column = first + (int)p * step->stride_columns;
        const bool inside = column >= 0 && column < step->in_columns;
        found[b] = memory[b][line + (inside ? (uint)column / PIX * step->in_groups : 0)].part[part];
    }
    beat_t beat;
    #pragma unroll
    for (uint p = 0; p < PIX; p++) {
        const int column = first + (int)p * step->stride_columns;
        const bool inside = row_inside && column >= 0 && column < step->in_columns;
        beat.pixel[p] = pad;
        if (inside)
            beat.pixel[p] = found[(turn + p * step->stride_columns) % PIX];
    }
    return beat;
}

STAGE void maps(__global const step_t *restrict steps, int count, int images, __global const beat_t *restrict image,
                __global const vec_t *restrict pads, __global uint *restrict trips)
{
    __local word_t memory[PIX][WORDS];
    for (int s = 0; s < count; s++) {
        const step_t step = steps[s];
        const int n = images_of(step.image, images);
        if (step.kind == LOAD) {
            // PIX pixels' VEC channels at a time; `rows` x `segments` x `blocks` of them
            const int beats_of_image = step.rows * step.segments * step.blocks;
            int word = step.out, block = 0;
            for (int i = 0; i < n * beats_of_image; i++) {
                const beat_t beat = image[step.image * beats_of_image + i];
                #pragma unroll
                for (int b = 0; b < PIX; b++)
                    memory[b][word].part[block % PARTS] = beat.pixel[b];
                block++;
                if (block % PARTS == 0 || block == step.blocks)
                    word++;
                if (block == step.blocks)
                    block = 0;
            }
            trips[s] = n * beats_of_image;
            continue;
        }
        const bool residual = step.residual >= 0;
        const uint segments = (uint)step.tiles * n * step.rows * step.segments;
        int tile = 0, i = 0, row = 0, segment = 0;                       // of the sums
        int block = residual ? -1 : 0, kernel_row = 0, kernel_column = 0; // block -1: the residuals
        uint fed = 0, counted = 0;
        int in_flight = 0;
        while (fed < segments || in_flight) {
            stored_t result;
            bool there;
            TAKE_IF_THERE(stored, result, there);
            if (there) {
                #pragma unroll
                for (int b = 0; b < PIX; b++)
                    #pragma unroll
                    for (int d = 0; d < DRAIN; d++)
                        if (result.bank[d] == b)
                            memory[b][result.word[d]] = result.pixel[d];
            }
            // No segment is begun that `stored` has no room for, so that no stage waits for this one in vain.
            const bool first = kernel_row == 0 && kernel_column == 0 && block <= 0 && !(residual && block == 0);
            const bool feeds = fed < segments && !(first && in_flight > IN_FLIGHT - MESSAGES);
            in_flight += (feeds && first && step.kind != DENSE ? MESSAGES : 0) - there;
            if (!feeds)
                continue;
            counted++;
            if (block < 0) {
                const int word = step.residual + i * step.residual_image
                    + (row * step.segments + segment) * step.tiles + tile;
                residuals_t kept;
                #pragma unroll
                for (int b = 0; b < PIX; b++)
                    kept.pixel[b] = memory[b][word];
                SEND(residuals, kept);
                block = 0;
                continue;
            }
            const beat_t beat = beat_at(memory, &step, step.in + i * step.in_image,
                                        row * step.stride_rows + kernel_row - step.pad_top,
                                        segment * PIX * step.stride_columns + kernel_column - step.pad_left, block,
                                        pads[step.pads + block]);
            SEND(beats, beat);
            if (++block < step.blocks)
                continue;
            block = 0;
            if (++kernel_column < step.kernel_columns)
                continue;
            kernel_column = 0;
            if (++kernel_row < step.kernel_rows)
                continue;
            kernel_row = 0;
            block = residual ? -1 : 0;
            fed++;
            if (++segment < step.segments)
                continue;
            segment = 0;
            if (++row < step.rows)
                continue;
            row = 0;
            if (++i < n)
                continue;
            i = 0;
            tile++;
        }
        trips[s] = counted;
    }
}
