#pragma once
// What kernels are compiled for: a GPU, or the emulator of the tests, which runs the same source on the CPU.

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define MOESIM_UNROLL _Pragma("unroll")
#define MOESIM_UNROLL_4 _Pragma("unroll 4")
#elif defined(MOESIM_EMULATED_GPU)
#include "calibrate/gpu_emulator.h"
#define MOESIM_UNROLL
#define MOESIM_UNROLL_4
#else
#error "kernels are compiled by nvcc, or by the tests with MOESIM_EMULATED_GPU"
#endif
