#pragma once
// Instructions of sm_90a: barriers in shared memory that count bytes, the tensor memory accelerator, and the matrix
// product of a warpgroup on operands in shared memory. As in the PTX ISA [ptx], sections mbarrier, cp.async.bulk.tensor
// and wgmma; the emulator has functions of the same names.

#include "intrinsics.cuh"

#if defined(__CUDACC__)
#include <cuda.h>
#endif

namespace moesim::calibrate {

/// Descriptor of an operand tile in shared memory whose rows are 128 bytes of the k direction, swizzled by 128 bytes in
/// groups of 8 rows. Fields in units of 16 bytes: 0-13 start address, 16-29 leading offset (not used by this layout:
/// 1), 32-45 offset between groups of 8 rows (1024 bytes), 49-51 base offset (0: the tile is aligned to 1024 bytes),
/// 62-63 swizzle (1: 128 bytes).
MOESIM_BOTH std::uint64_t operand_descriptor(std::uint32_t address) {
  return static_cast<std::uint64_t>((address & 0x3ffffu) >> 4) | std::uint64_t{1} << 16 |
         std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
}

#if defined(__CUDACC__)

__device__ __forceinline__ void barrier_init(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals) : "memory");
}
/// Makes the initialised barriers visible to the copies of the accelerator.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(std::uint32_t barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.release.cta.shared::cta.b64 state, [%0];\n}\n" ::"r"(barrier)
               : "memory");
}
/// Arrives, and lets the phase wait for `bytes` more.
__device__ __forceinline__ void barrier_expect(std::uint32_t barrier, int bytes) {
  asm volatile(
      "{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.release.cta.shared::cta.b64 state, [%0], %1;\n}\n" ::"r"(barrier),
      "r"(bytes)
      : "memory");
}
/// Until the phase of parity `parity` is complete. Fresh barriers are in phase 0; the phase before counts as complete.
__device__ __forceinline__ void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
  std::uint32_t done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, "
        "p;\n}\n"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  }
}

using TensorMap = CUtensorMap;

/// A box of a 2- or 3-dimensional tensor to shared memory; zeros beyond its edges. The bytes of the whole box count
/// towards the barrier.
__device__ __forceinline__ void load_box(std::uint32_t target, const TensorMap* map, std::uint32_t barrier, int x,
                                         int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
      "[%2];\n" ::"r"(target),
      "l"(map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}
__device__ __forceinline__ void load_box(std::uint32_t target, const TensorMap* map, std::uint32_t barrier, int x,
                                         int y, int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];\n" ::"r"(target),
      "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z)
      : "memory");
}
__device__ __forceinline__ void prefetch_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}

/// Orders accesses to the accumulators before the products that follow.
__device__ __forceinline__ void warpgroup_fence() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
__device__ __forceinline__ void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
/// Until at most `Pending` committed groups of the warpgroup are under way.
template <int Pending>
__device__ __forceinline__ void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(Pending) : "memory");
}
/// Keeps the compiler from moving accesses to the accumulators over this place.
__device__ __forceinline__ void pin(float (&d)[64]) {
  MOESIM_UNROLL
  for (int i = 0; i < 64; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define MOESIM_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define MOESIM_D16(i) MOESIM_D4(i), MOESIM_D4(i + 4), MOESIM_D4(i + 8), MOESIM_D4(i + 12)
#define MOESIM_D64 MOESIM_D16(0), MOESIM_D16(16), MOESIM_D16(32), MOESIM_D16(48)
#define MOESIM_WGMMA(shape_and_types, immediates)                                                                     \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned." shape_and_types              \
               " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "    \
               "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, " \
               "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, " \
               "%61, %62, %63}, %64, %65, p, " immediates ";\n}\n"                                                    \
               : MOESIM_D64                                                                                           \
               : "l"(a), "l"(b), "r"(accumulate)                                                                      \
               : "memory")

/// d[64, 128] = a[64, 32 bytes] b[128, 32 bytes]^T, plus d where `accumulate`. Thread t of the warpgroup holds in
/// d[4 j + i] row 16 (t / 32) + (t % 32) / 4 + 8 (i / 2), column 8 j + 2 (t % 4) + i % 2. Asynchronous.
__device__ __forceinline__ void warpgroup_multiply(float (&d)[64], std::uint64_t a, std::uint64_t b, int accumulate,
                                                   Bf16 /*format*/) {
  MOESIM_WGMMA("m64n128k16.f32.bf16.bf16", "1, 1, 0, 0");
}
__device__ __forceinline__ void warpgroup_multiply(float (&d)[64], std::uint64_t a, std::uint64_t b, int accumulate,
                                                   Fp8 /*format*/) {
  MOESIM_WGMMA("m64n128k32.f32.e4m3.e4m3", "1, 1");
}
#undef MOESIM_WGMMA
#undef MOESIM_D64
#undef MOESIM_D16
#undef MOESIM_D4

#endif  // __CUDACC__

}  // namespace moesim::calibrate
