// How the estimators' kernels add up rows: in slices, so that the sums don't depend on who computes what.
//
// A slice of `slice` rows is summed to `length` doubles of its own, `partials` [slices][length]; then these are added to
// `total` in the order of the slices. A chunk is the rows that lie in device memory at once.

// total[i] = (first ? 0 : total[i]) + partials[0][i] + partials[1][i] + ...; a work item adds 16 neighbours.
__kernel void add_slices(__global const double8 *partials, int slices, int length, __global double8 *total, int first)
{
    const int at = get_global_id(0) * 2;
    double8 low = first ? (double8)(0.0) : total[at];
    double8 high = first ? (double8)(0.0) : total[at + 1];
    for (int s = 0; s < slices; s++) {
        __global const double8 *partial = partials + (long)s * (length / 8) + at;
        low += partial[0];
        high += partial[1];
    }
    total[at] = low;
    total[at + 1] = high;
}

__global double *cleared(__global double *partial, int length)
{
    for (int i = 0; i < length; i++)
        partial[i] = 0.0;
    return partial;
}

// What every kernel over rows gets first: of the chunk it sums `slices` slices from `first_slice` on. `taken` is how many
// of these work items have taken so far, 0 at first. Of `indices`, `pointers` (from 0 on), `labels` and `weights` those
// are null that the rows have not.
#define SLICE_PARAMETERS \
    __global int *taken, int slices, int first_slice, int slice, int rows, int features, int stride, \
        __global const stored *values, __global const int *indices, __global const long *pointers, \
        __global const int *labels, __global const double *weights, __global double *partials, int length

// The body of a kernel, for each slice `s` that the work item takes. They are taken one by one, so that a processor that
// other programs use too holds nobody up for long.
#define FOR_EACH_SLICE for (int s = atomic_inc(taken); s < slices; s = atomic_inc(taken))

// The slice's first row, how many it has, and its sums, which are zeros at first.
#define SLICE_START ((long)(first_slice + s) * slice)
#define SLICE_COUNT min(slice, (int)(rows - SLICE_START))
#define SLICE_SUMS cleared(partials + s * (long)length, length)
#define FROM_START(p) ((p) ? (p) + SLICE_START : (p))
