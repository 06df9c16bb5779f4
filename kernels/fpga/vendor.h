// What FPGA compilers spell differently. Everything else in the sources of the tier `fpga` is plain OpenCL C.
//
// Intel's channels are those of the FPGA SDK for OpenCL (guide 683846) and of its emulator. AMD's pipes are those of
// Vitis 2019.2; later releases have none (Xilinx/XRT issue 6061): nobody has built this for an AMD board.

#if defined(__xilinx__)
#define STAGE __attribute__((reqd_work_group_size(1, 1, 1))) __kernel
#define CHANNEL(TYPE, NAME, DEPTH) pipe TYPE NAME __attribute__((xcl_reqd_pipe_depth(DEPTH)))
#define SEND(NAME, VALUE) write_pipe_block(NAME, &(VALUE))
#define TAKE(NAME, VALUE) read_pipe_block(NAME, &(VALUE))
#define TAKE_IF_THERE(NAME, VALUE, THERE) (THERE) = read_pipe(NAME, &(VALUE)) == 0
#else
#pragma OPENCL EXTENSION cl_intel_channels : enable
#define STAGE __attribute__((max_global_work_dim(0))) __kernel
#define CHANNEL(TYPE, NAME, DEPTH) channel TYPE NAME __attribute__((depth(DEPTH)))
#define SEND(NAME, VALUE) write_channel_intel(NAME, VALUE)
#define TAKE(NAME, VALUE) (VALUE) = read_channel_intel(NAME)
#define TAKE_IF_THERE(NAME, VALUE, THERE) (VALUE) = read_channel_nb_intel(NAME, &(THERE))
#endif
