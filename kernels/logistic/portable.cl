// For any OpenCL 1.2 device with double precision.
#include "../estimators/portable.h"
#include "../estimators/real.h"
#include "../estimators/slices.h"
#include "../estimators/scores.h"
#include "../estimators/exponential.h"
#include "binomial.h"
#include "multinomial.h"
