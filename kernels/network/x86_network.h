// The whole network in one launch. PoCL wakes its threads late: of a launch a layer one thread would do the most.
//
// The batch is taken in groups of images whose activations fit in the caches. A phase is one layer of one group; GROUPS
// groups take turns phase by phase. Threads take a phase's tiles one by one; one that finds none left goes on to the next
// phase, for which only that group's last phase must be done: a thread that lost its processor in the middle of a tile is
// not waited for at once. Nothing depends on how many threads there are or when they come: whoever waits, waits for tiles
// that others are at.

// How far a phase is, each number on a cache line of its own.
typedef struct {
    int taken;
    int unused[15];
    int done;
    int unused_either[15];
} progress_t;

// What all phases share.
typedef struct {
    __global const layer_t *layers;
    int layer_count;
    __global const uchar *constants;
    __global const uchar *images;
    int image_bytes;
    int count;  // of images
    __global uchar *arenas;
    long arena_bytes;
    int capacity;  // of an arena, in images
    __global float *logits;
    int classes;
} network_t;

// The group that a phase is about; it has no images where there are fewer groups.
HELPER group_t group_of(const network_t *network, int phase)
{
    const int first = (phase / (GROUPS * network->layer_count) * GROUPS + phase % GROUPS) * network->capacity;
    group_t group;
    group.images = network->images + (long)first * network->image_bytes;
    group.arena = network->arenas + phase % GROUPS * network->arena_bytes;
    group.logits = network->logits + (long)first * network->classes;
    group.count = max(0, min(network->capacity, network->count - first));
    group.capacity = network->capacity;
    return group;
}

HELPER layer_t layer_of(const network_t *network, int phase)
{
    return network->layers[phase / GROUPS % network->layer_count];
}

HELPER int tiles_in(const network_t *network, int phase)
{
    const group_t group = group_of(network, phase);
    const layer_t layer = layer_of(network, phase);
    return tiles_of(&layer, &group);
}

// The thread that is waited for may be waiting for a processor: after a while it may have this one.
HELPER void wait_for(__global int *done, int tiles)
{
    for (int turn = 1; __atomic_load_n(done, __ATOMIC_ACQUIRE) < tiles; turn++) {
        __builtin_ia32_pause();
        if (turn % 256 == 0) {
            long result;
            __asm__ volatile("syscall" : "=a"(result) : "a"(24L) : "rcx", "r11", "memory");  // Linux: sched_yield
        }
    }
}

INNER long clock_now(void)
{
    const ulong ticks = __builtin_readcyclecounter();  // typed wider than it is: only to be assigned
    return ticks;
}

INNER void run(const network_t *network, __global progress_t *progress, __global element *room, __global long *ticks)
{
    const int phases =
        divided_up(divided_up(network->count, network->capacity), GROUPS) * GROUPS * network->layer_count;
    for (int phase = 0; phase < phases; phase++) {
        const group_t group = group_of(network, phase);
        const layer_t layer = layer_of(network, phase);
        const int tiles = tiles_of(&layer, &group);
        __global progress_t *at = progress + phase;
        if (__atomic_load_n(&at->taken, __ATOMIC_RELAXED) >= tiles)
            continue;
        for (int first = 1;; first = 0) {
            const int tile = __atomic_fetch_add(&at->taken, 1, __ATOMIC_RELAXED);
            if (tile >= tiles)
                break;
            if (first && phase >= GROUPS)
                wait_for(&at[-GROUPS].done, tiles_in(network, phase - GROUPS));
            const long start = ticks ? clock_now() : 0;
            make_tile(&layer, &group, network->constants, tile, room);
            if (ticks)
                __atomic_fetch_add(ticks + phase / GROUPS % network->layer_count, clock_now() - start, __ATOMIC_RELAXED);
            __atomic_fetch_add(&at->done, 1, __ATOMIC_RELEASE);
        }
    }
}

// `progress` is all 0; the launch leaves `next_progress` so, of as many phases, which no launch is using. `rooms` has
// `room` bytes a thread. `ticks`, if wanted, get the time that each layer took, all threads together, in the processor's
// own unit, and behind these the time that the threads were here.
__kernel void network(
    int count, __global const uchar *images, __global float *logits, __global const layer_t *layers, int layer_count,
    __global const uchar *constants, __global uchar *arenas, long arena_bytes, int capacity, __global uchar *rooms,
    long room, int image_bytes, int classes, __global progress_t *progress, __global progress_t *next_progress,
    int phases, __global long *ticks)
{
    const network_t network = {layers, layer_count, constants, images, image_bytes, count,
                               arenas, arena_bytes, capacity, logits, classes};
    const long start = ticks ? clock_now() : 0;
    if (get_global_id(0) == 0)
        for (int phase = 0; phase < phases; phase++)
            next_progress[phase].taken = next_progress[phase].done = 0;
    run(&network, progress, (__global element *)(rooms + get_global_id(0) * room), ticks);
    if (ticks)
        __atomic_fetch_add(ticks + layer_count, clock_now() - start, __ATOMIC_RELAXED);
}
