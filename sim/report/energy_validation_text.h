#pragma once
// What `moesim validate` prints and writes of a table of measured energy.

#include <string>

#include "study/energy_validation.h"

namespace moesim {

/// Errors of J/token, of power at the measured throughput and of throughput, by GPU, model and precision, rows that no
/// fit saw first.
std::string energy_validation_table(const EnergyValidation& result);

/// One object: `rows scored skipped clocks` with the errors of J/token of all unseen rows, `metrics`, and `groups`;
/// errors are fractions, null where nothing was scored.
std::string energy_validation_json(const EnergyValidation& result);

/// One line a prediction, with a header.
std::string energy_validation_csv(const EnergyValidation& result);

}  // namespace moesim
