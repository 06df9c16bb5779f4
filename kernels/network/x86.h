// What the x86 tiers share, in the order in which one part needs another. A tier includes it after its definitions.
#include "x86_arithmetic.h"
#include "x86_panel.h"
#define N 1
#include "x86_multiply.h"
#define N 2
#include "x86_multiply.h"
#define N 3
#include "x86_multiply.h"
#define N 4
#include "x86_multiply.h"
#define N 5
#include "x86_multiply.h"
#define N 6
#include "x86_multiply.h"
#if PIXELS > 6
#define N 7
#include "x86_multiply.h"
#define N 8
#include "x86_multiply.h"
#define N 9
#include "x86_multiply.h"
#define N 10
#include "x86_multiply.h"
#define N 11
#include "x86_multiply.h"
#define N 12
#include "x86_multiply.h"
#define N 13
#include "x86_multiply.h"
#define N 14
#include "x86_multiply.h"
#endif
#include "x86_multiply_any.h"
#include "x86_layers.h"
#if GROUP == 2  // elements are shorts
#include "x86_winograd.h"
#endif
#include "x86_tiles.h"
#include "x86_network.h"
