// The whole network in one launch. PoCL wakes its threads late: of a launch a layer one thread would do the most.
//
// The batch is cut into groups of images. A thread takes a group and makes it alone, in memory of its own that stays in its
// caches; the threads that find no group left help with the tiles of those that are under way, from the other end. A group
// is made in steps: each of its images goes through the layers before `split`, whose activations are large, one by one;
// then all of them together through the others, whose weights are.
//
// Nothing depends on how many threads there are or when they come: whoever waits, waits for tiles that others are at.

// How far a group is; what is written often is on a cache line of its own.
typedef struct {
    long next;  // in units of STEP the steps begun; of those of the last: tiles taken by helpers, and by its own thread
    long unused[7];
    int done;  // by helpers, of the step
    int slot;  // its arena
    int unused_either[14];
} progress_t;

#define OWN 1L
#define HELPED (1L << 20)
#define STEP (1L << 40)

// What all groups share.
typedef struct {
    __global const layer_t *layers;
    int layer_count;
    int split;  // the first layer that is made for all images of a group at once
    __global const uchar *constants;
    __global const uchar *images;
    int image_bytes;  // of the input
    int count;        // of images
    int capacity;     // of a group, in images
    __global uchar *arenas;
    long arena_bytes;
    int one_image_bytes;  // of an arena, see batch_t
    __global float *logits;
    int classes;
} network_t;

HELPER int groups_in(const network_t *network)
{
    return divided_up(network->count, network->capacity);
}

HELPER int images_in(const network_t *network, int group)
{
    return min(network->capacity, network->count - group * network->capacity);
}

HELPER int steps_in(const network_t *network, int group)
{
    return images_in(network, group) * network->split + network->layer_count - network->split;
}

// What a step is about.
typedef struct {
    int number;
    int layer_number;
    layer_t layer;
    batch_t batch;
    int tiles;
} step_t;

HELPER step_t step_of(const network_t *network, int group, int slot, int number)
{
    const int images = images_in(network, group);
    const int one_by_one = images * network->split;
    const int one = number < one_by_one;
    const long before = (long)group * network->capacity;
    step_t step;
    step.number = number;
    step.layer_number = one ? number % network->split : network->split + number - one_by_one;
    step.layer = network->layers[step.layer_number];
    step.batch.images = network->images + before * network->image_bytes;
    step.batch.arena = network->arenas + slot * network->arena_bytes;
    step.batch.logits = network->logits + before * network->classes;
    step.batch.first = one ? number / network->split : 0;
    step.batch.count = one ? 1 : images;
    step.batch.capacity = network->capacity;
    step.batch.image_bytes = network->one_image_bytes;
    step.batch.classes = network->classes;
    step.tiles = tiles_of(&step.layer, &step.batch);
    return step;
}

HELPER int step_number(long next)
{
    return next / STEP - 1;
}

HELPER int own_tiles(long next)
{
    return next & (HELPED - 1);
}

HELPER int helped_tiles(long next)
{
    return next / HELPED & (HELPED - 1);
}

INNER long clock_now(void)
{
    const ulong ticks = __builtin_readcyclecounter();  // typed wider than it is: only to be assigned
    return ticks;
}

// The thread that is waited for may be waiting for a processor: after a while it may have this one.
HELPER void wait_a_little(int turn)
{
    __builtin_ia32_pause();
    if (turn % 256 == 255) {
        long result;
        __asm__ volatile("syscall" : "=a"(result) : "a"(24L) : "rcx", "r11", "memory");  // Linux: sched_yield
    }
}

HELPER void make(
    const network_t *network, const step_t *step, int tile, __global uchar *room, __global long *ticks)
{
    const long start = ticks ? clock_now() : 0;
    make_tile(&step->layer, &step->batch, network->constants, tile, room);
    if (ticks)
        __atomic_fetch_add(ticks + step->layer_number, clock_now() - start, __ATOMIC_RELAXED);
}

// Makes a group, alone or helped.
INNER void make_group(
    const network_t *network, __global progress_t *at, int group, int slot, __global uchar *room, __global long *ticks)
{
    const int steps = steps_in(network, group);
    at->slot = slot;
    for (int number = 0; number < steps; number++) {
        const step_t step = step_of(network, group, slot, number);
        at->done = 0;
        __atomic_store_n(&at->next, (number + 1) * STEP, __ATOMIC_RELEASE);
        int made = 0;
        for (;; made++) {
            const long next = __atomic_fetch_add(&at->next, OWN, __ATOMIC_RELAXED);
            if (own_tiles(next) + helped_tiles(next) >= step.tiles)
                break;
            make(network, &step, own_tiles(next), room, ticks);
        }
        for (int turn = 0; __atomic_load_n(&at->done, __ATOMIC_ACQUIRE) < step.tiles - made; turn++)
            wait_a_little(turn);
    }
    __atomic_store_n(&at->next, (steps + 1) * STEP, __ATOMIC_RELEASE);
}

// The tiles that nobody has taken of the step that `next` says, which becomes `step`; 0 before the first and after the last.
HELPER int tiles_left(const network_t *network, __global progress_t *at, int group, long next, step_t *step)
{
    const int number = step_number(next);
    if (number < 0 || number == steps_in(network, group))
        return 0;
    if (number != step->number)
        *step = step_of(network, group, at->slot, number);
    return max(0, step->tiles - own_tiles(next) - helped_tiles(next));
}

// Makes tiles of a group until there are none. Whether that is its end: 0 where others are at its last tiles.
INNER int help_group(
    const network_t *network, __global progress_t *at, int group, __global uchar *room, __global long *ticks)
{
    step_t step;
    step.number = -1;
    for (;;) {
        long next = __atomic_load_n(&at->next, __ATOMIC_ACQUIRE);
        if (!tiles_left(network, at, group, next, &step))
            return step_number(next) == steps_in(network, group);
        next = __atomic_fetch_add(&at->next, HELPED, __ATOMIC_ACQUIRE);  // which may be of a later step
        if (!tiles_left(network, at, group, next, &step))
            continue;
        make(network, &step, step.tiles - 1 - helped_tiles(next), room, ticks);
        __atomic_fetch_add(&at->done, 1, __ATOMIC_RELEASE);
    }
}

// `progress` has one for the batch, whose `done` are the groups taken, and one for each group.
INNER void run(
    const network_t *network, __global progress_t *progress, int thread, int threads, __global uchar *room,
    __global long *ticks)
{
    const int groups = groups_in(network);
    for (int group; (group = __atomic_fetch_add(&progress->done, 1, __ATOMIC_RELAXED)) < groups;) {
        const int slot = groups <= threads ? group : thread;
        make_group(network, progress + 1 + group, group, slot, room, ticks);
    }
    int finished = 0;
    for (int turn = 0; finished < groups; turn++) {
        finished = 0;
        for (int group = 0; group < groups; group++)
            finished += help_group(network, progress + 1 + group, group, room, ticks);
        wait_a_little(turn);
    }
}

// `progress` is all 0; the launch leaves `next_progress` so, of which `used` are not, and which no launch is using. `rooms`
// has `room` bytes a thread. `ticks`, if wanted, get the time that each layer took, all threads together, in the
// processor's own unit, and behind these the time that the threads were here.
__kernel void network(
    int count, __global const uchar *images, __global float *logits, __global const layer_t *layers, int layer_count,
    int split, __global const uchar *constants, __global uchar *arenas, long arena_bytes, int one_image_bytes,
    int capacity, __global uchar *rooms, long room, int image_bytes, int classes, __global progress_t *progress,
    __global progress_t *next_progress, int used, __global long *ticks)
{
    const network_t network = {layers, layer_count, split, constants, images, image_bytes, count,
                               capacity, arenas, arena_bytes, one_image_bytes, logits, classes};
    const long start = ticks ? clock_now() : 0;
    if (get_global_id(0) == 0)
        for (int i = 0; i < used; i++)
            next_progress[i].next = next_progress[i].done = 0;
    run(&network, progress, get_global_id(0), get_global_size(0), rooms + get_global_id(0) * room, ticks);
    if (ticks)
        __atomic_fetch_add(ticks + layer_count, clock_now() - start, __ATOMIC_RELAXED);
}
