// For x86 processors with AVX-512.
#include "../estimators/x86.h"
#include "../estimators/real.h"
#include "../estimators/slices.h"
#include "../estimators/scores.h"
#include "../estimators/exponential.h"
#include "binomial.h"
#include "multinomial.h"
