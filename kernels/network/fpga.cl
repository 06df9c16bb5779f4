// The tier `fpga` of the network: one engine for all networks, which it is told of by a table of steps. Described in
// docs/fpga-engine.md; the host's side is spark_accel/fpga/.
//
//   external memory --> weights ------+
//   images --> maps --beats--> array --sums--> requantise --pixels--> pool --+
//               ^  `--residuals--------------------^                         |
//               +------------------------stored------------------------------+
//
// Each stage is a single work item that walks the table by itself, so that one launch takes a group of images through
// all layers. Activations stay on the chip, in `maps`.

#include "../fpga/vendor.h"
#include "fpga_program.h"
#include "fpga_maps.h"
#include "fpga_array.h"
#include "fpga_output.h"
