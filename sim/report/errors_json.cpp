#include "report/errors_json.h"

#include <nlohmann/json.hpp>

namespace moesim {

nlohmann::ordered_json errors_json(const ErrorSummary& errors) {
  if (errors.scored == 0) {
    return {{"scored", 0}, {"mape", nullptr}, {"median_ape", nullptr}, {"p90_ape", nullptr}, {"bias", nullptr}};
  }
  return {{"scored", errors.scored},
          {"mape", errors.mape},
          {"median_ape", errors.median_ape},
          {"p90_ape", errors.p90_ape},
          {"bias", errors.bias}};
}

}  // namespace moesim
