#pragma once
// What the figures of an nccl-tests row say of its collective and ranks.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/import_collective_log.h"

namespace moesim {

/// Bytes of an element of a type as nccl-tests names it; nothing where the name is unknown.
std::optional<std::int64_t> element_bytes(std::string_view type);

/// The one collective that busbw / algbw and the reduction (sum, none, ...) of the rows allow; empty where there are
/// several. An all-reduce has 2 (n - 1) / n, above 1 from 3 ranks on; all_gather, reduce_scatter and alltoall have
/// (n - 1) / n and only reduce_scatter of them reduces [nccl-tests].
std::string collective_by_ratio(std::span<const NcclTestRow> rows, std::string_view reduction);

/// Ranks by the same ratio, both figures being rounded to 0.01; `several` is set where more than one number fits and
/// the one of the highest power of two is taken. 0: the rows do not tell.
std::int64_t ranks_by_ratio(std::span<const NcclTestRow> rows, std::string_view collective, bool& several);

}  // namespace moesim
