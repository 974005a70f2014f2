#pragma once
// One function a family: makes inputs, checks the kernel against its reference, times it. All throw RowError.

#include "../cases.h"
#include "machine.h"

namespace moesim::calibrate {

Measured measure_gemm(Machine& machine, const GemmCase& shape, std::uint64_t seed);
Measured measure_head_product(Machine& machine, const HeadProductCase& shape, std::uint64_t seed);
Measured measure_quantize(Machine& machine, const QuantizeCase& shape, std::uint64_t seed);
/// The whole op.
Measured measure_moe(Machine& machine, const MoeCase& shape, const std::string& kernel, std::uint64_t seed);
/// Its two products, each alone.
Measured measure_grouped(Machine& machine, const MoeCase& shape, const std::string& kernel, std::uint64_t seed);
Measured measure_moe_part(Machine& machine, const MoePartCase& shape, std::uint64_t seed);
Measured measure_decode(Machine& machine, const AttentionCase& shape, std::uint64_t seed);
Measured measure_latent_decode(Machine& machine, const LatentCase& shape, std::uint64_t seed);
/// `kernel`: flash_mma (ours) or sdpa (cuDNN).
Measured measure_prefill(Machine& machine, const AttentionCase& shape, const std::string& kernel, std::uint64_t seed);
Measured measure_latent_prefill(Machine& machine, const LatentCase& shape, const std::string& kernel,
                                std::uint64_t seed);
Measured measure_memory(Machine& machine, const MemoryCase& shape, std::uint64_t seed);

}  // namespace moesim::calibrate
