// What the stages share: the engine's shape, the table of steps, and the channels.
//
// VEC input channels x LANES output channels x PIX pixels of a row are multiplied in a cycle. DRAIN pixels of sums
// leave the array in a cycle. A bank of `maps` has WORDS words of LANES channels. A tile's weights are WEIGHT_WORDS
// words at most. POOL_COLUMNS are the columns of a pooled row at most. DEPTH is that of the channels; IN_FLIGHT of the
// one that leads back to `maps`.

#if LANES % VEC || DRAIN > PIX
#error LANES must be a multiple of VEC, and DRAIN at most PIX
#endif
// A segment's sums leave the array while the next one's beats come: `maps` must be free to send two.
#if IN_FLIGHT < 2 * ((PIX + DRAIN - 1) / DRAIN)
#error IN_FLIGHT must have room for the messages of two segments, each PIX / DRAIN, rounded up
#endif
#define PARTS (LANES / VEC)                        // of a word: what one cycle multiplies
#define MESSAGES ((PIX + DRAIN - 1) / DRAIN)       // in which the sums of a segment leave the array
#define FAR (PIX * 4096)                           // more than padding goes to the left
#define WINDOW 3                                   // rows and columns of a pooling window at most

enum { LOAD, CONVOLUTION, DENSE };                 // step_t.kind
enum { NO_POOL, MAX_POOL, AVERAGE_POOL };          // step_t.pool

// A row of the table; spark_accel/fpga/program.py has the same fields. Addresses in `maps` are words, the same in each
// bank. An activation [rows][columns][channels] lies there as [row][column / PIX][channels / LANES], its column c in
// bank c % PIX. `_image` is the distance from one image of the group to the next.
typedef struct {
    int kind, image;                               // `image`: which one of the group; -1: all that there are
    int in, in_image, in_rows, in_columns, in_segments, in_groups, blocks;
    int kernel_rows, kernel_columns, stride_rows, stride_columns, stride_inverse, pad_top, pad_left, pads;
    int rows, columns, segments, tiles;            // of the sums
    int weights, parameters;                       // the first word, the first tile
    int residual, residual_image;                  // `residual`: -1 without
    int pool, pool_rows, pool_columns, pool_stride_rows, pool_stride_columns, pool_top, pool_left;
    int out, out_image, out_rows, out_columns, out_segments;
} step_t;

typedef struct { uchar v[VEC]; } vec_t;            // VEC channels of a pixel
typedef struct { vec_t part[PARTS]; } word_t;      // LANES channels of a pixel
typedef struct { vec_t pixel[PIX]; } beat_t;       // what the array multiplies in a cycle
typedef struct { char v[LANES][VEC]; } weights_t;  // by what
typedef struct { word_t pixel[PIX]; } residuals_t; // what is added to the sums of a segment
typedef struct { int v[DRAIN][LANES]; } sums_t;
typedef struct { word_t pixel[DRAIN]; } pixels_t;
typedef struct {
    word_t pixel[DRAIN];
    int word[DRAIN];
    char bank[DRAIN];                              // -1: nothing to store
} stored_t;
typedef struct {                                   // of a tile; see spark_accel/networks/plan.py
    int bias[LANES];
    float multiplier[LANES];
    int residual_multiplier[LANES];
    int zero_point[LANES];
    float average_multiplier[LANES];
} parameters_t;

CHANNEL(beat_t, beats, DEPTH);
CHANNEL(weights_t, multipliers, DEPTH);
CHANNEL(residuals_t, residuals, DEPTH);
CHANNEL(sums_t, sums, DEPTH);
CHANNEL(pixels_t, pixels, DEPTH);
CHANNEL(stored_t, stored, IN_FLIGHT);

// The images that a step works on, of a group of `images`.
inline int images_of(int image, int images)
{
    return image < 0 ? images : image < images;
}

inline int saturated(int value)
{
    return clamp(value, 0, 255);
}
