#pragma once
// The kernels that can do the products of the experts of a rank, behind one call.

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "machine.h"

namespace moesim::calibrate {

/// Puts a grouped product on the machine's stream.
using GroupedStart = std::function<void()>;

/// `kernel`: cublaslt_loop (one product an expert with rows), cublas_grouped (bf16 only), wgmma (sm_90) or mma_sync.
/// The first two need the offsets on the host: a graph holds them for one routing.
template <class Element>
GroupedStart grouped_start(Machine& machine, const std::string& kernel, const GroupedProduct<Element>& product,
                           std::span<const std::int32_t> offsets);

}  // namespace moesim::calibrate
