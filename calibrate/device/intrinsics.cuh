#pragma once
// The warp instructions that the kernels for every GPU since sm_80 use: asynchronous copies to shared memory, matrix
// fragments and the warp's matrix product. Layouts as in the PTX ISA [ptx]; the emulator has functions of the same
// names.

#include <cstdint>

#include "../number_formats.h"
#include "platform.h"

namespace moesim::calibrate {

#if defined(__CUDACC__)

/// Start of the dynamic shared memory of the block.
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char moesim_shared[];
  return moesim_shared;
}
/// Address in the window of shared memory.
__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// 16 bytes from global to shared memory, asynchronously; zeros where not `valid` (`source` is then not read).
__device__ __forceinline__ void copy_async(std::uint32_t target, const void* source, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(source), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Until at most `Pending` committed groups of this thread are under way.
template <int Pending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Pending) : "memory");
}

/// Four 8 x 16-byte matrices. Lane l gives the address of row l % 8 of matrix l / 8, and gets of each matrix i the
/// 4 bytes l % 4 of row l / 4 in r[i].
__device__ __forceinline__ void load_matrices(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
/// The same with every matrix of 8 x 8 two-byte elements transposed.
__device__ __forceinline__ void load_matrices_transposed(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// c[16, 8] += a[16, k] b[8, k]^T with k of 32 bytes: 16 bf16 or 32 fp8.
__device__ __forceinline__ void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                                         Bf16 /*format*/) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply([[maybe_unused]] float (&c)[4], [[maybe_unused]] const std::uint32_t (&a)[4],
                                         [[maybe_unused]] std::uint32_t b0, [[maybe_unused]] std::uint32_t b1,
                                         Fp8 /*format*/) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  __trap();  // the host offers fp8 from sm_89 on
#endif
}

#endif  // __CUDACC__

/// Two bf16 in one register, the first in the low half.
MOESIM_BOTH std::uint32_t pack(float low, float high) {
  return to_bf16(low).bits | static_cast<std::uint32_t>(to_bf16(high).bits) << 16;
}

/// Offset of 16-byte chunk `chunk` of row `row` in a tile whose rows are `chunks` chunks, a multiple of 8: within each
/// 128 bytes the chunk is exclusive-or'ed with the row, so that 8 rows of one chunk lie in different banks.
MOESIM_BOTH std::uint32_t swizzled(int row, int chunk, int chunks) {
  return static_cast<std::uint32_t>(row * chunks + (chunk ^ (row & 7))) * 16;
}

/// Offsets by which the lanes address fragments in a swizzled tile, from (row, chunk) on.
/// a[16, 32 bytes] of rows [m][k]:
MOESIM_BOTH std::uint32_t left_fragment(int lane, int row, int chunk, int chunks) {
  return swizzled(row + lane % 16, chunk + lane / 16, chunks);
}
/// Two b[8, 32 bytes] of rows [n][k]: registers 0, 1 are of rows 0 to 7, registers 2, 3 of rows 8 to 15.
MOESIM_BOTH std::uint32_t right_fragments(int lane, int row, int chunk, int chunks) {
  return swizzled(row + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2, chunks);
}
/// One b[8, 64 bytes]: registers 0, 1 are of the first 32 bytes, registers 2, 3 of the second.
MOESIM_BOTH std::uint32_t long_right_fragment(int lane, int row, int chunk, int chunks) {
  return swizzled(row + lane % 8, chunk + lane / 8, chunks);
}

}  // namespace moesim::calibrate
