// What the x86 tiers share, in the order in which one part needs another. A tier includes it after its definitions.
#include "x86_arithmetic.h"
#include "x86_panel.h"
#define ELEMENTS bytes
#define PRODUCTS DOT
#define RAW 0
#ifdef PAIRS
#define LISTED 1
#endif
#include "x86_multiply_any.h"
#define ELEMENTS shorts
#define PRODUCTS DOT_SHORTS
#define RAW 1
#include "x86_multiply_any.h"
#ifdef PAIRS
#define ELEMENTS widened
#define PRODUCTS DOT_SHORTS
#define RAW 0
#include "x86_multiply_any.h"
#endif
#include "x86_layers.h"
#include "x86_winograd.h"
#include "x86_tiles.h"
#include "x86_network.h"
