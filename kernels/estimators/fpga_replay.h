// `rows`: reads each row once from external memory, and sends it to the array once for each group of sets, and once to
// those that work on it when the array is done. Those take it when they have what the array makes of it: a channel must
// hold a whole row, or all wait. A few rows are enough on a board; on an emulator, whose stages are threads that are
// woken up, deep channels (DEPTH) are fast.
#if DEPTH < FEATURES / VEC
#error a channel must hold a whole row: DEPTH is less than FEATURES / VEC
#endif
#if LANES == 1 || 16 % LANES
#error LANES must be 2, 4, 8 or 16, as long as OpenCL vectors
#endif

CHANNEL(beat_t, repeated, DEPTH);
CHANNEL(beat_t, kept, DEPTH);

STAGE void rows(int count, int beats, int groups, __global const beat_t *restrict values,
                __global ulong *restrict trips)
{
    __local beat_t row[BEATS];
    const long total = (long)count * groups * beats;
    long at = 0;
    int beat = 0, group = 0;
    ulong counted = 0;
    for (long i = 0; i < total; i++) {
        beat_t sent;
        if (group == 0) {
            sent = values[at];
            row[beat] = sent;
            at++;
            SEND(kept, sent);
        } else {
            sent = row[beat];
        }
        SEND(repeated, sent);
        counted++;
        if (++beat < beats)
            continue;
        beat = 0;
        if (++group == groups)
            group = 0;
    }
    trips[0] = counted;
}
