#pragma once
// What `moesim validate` prints and writes.

#include <string>

#include "study/validate.h"

namespace moesim {

/// Errors in all and by group, what was skipped and why.
std::string validation_table(const ValidationResult& result);

/// One object: `rows scored skipped mape median_ape p90_ape bias metrics groups profiles extrapolated`; errors are
/// fractions, null where nothing was scored.
std::string validation_json(const ValidationResult& result);

/// One line a prediction, with a header.
std::string validation_csv(const ValidationResult& result);

}  // namespace moesim
