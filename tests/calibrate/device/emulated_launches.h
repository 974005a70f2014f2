#pragma once
// Faults that the checks before the timing have to find.

namespace moesim::calibrate {

enum class Broken { nothing, router, product, scale, combine, attention };
extern Broken broken;

}  // namespace moesim::calibrate
