#pragma once
// Parts of a result's JSON that runs of every mode have.

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "metrics/run_result.h"

namespace moesim {

nlohmann::ordered_json provenance_json(const Provenance& provenance);
nlohmann::ordered_json links_json(std::span<const LinkUse> links);

}  // namespace moesim
