#pragma once
// Errors of predictions as every scored table writes them.

#include <nlohmann/json_fwd.hpp>

#include "core/error_summary.h"

namespace moesim {

/// `scored mape median_ape p90_ape bias`; null where nothing was scored.
nlohmann::ordered_json errors_json(const ErrorSummary& errors);

}  // namespace moesim
