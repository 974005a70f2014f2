#include "config/link_rates.h"

#include <algorithm>
#include <array>
#include <utility>

namespace moesim {

LinkClass nvlink_rate(int compute_capability) {
  struct Generation {
    int from;  ///< compute capability
    double line, reached;
  };
  constexpr std::array<Generation, 6> generations = {{{100, 50e9, 40.1e9},
                                                      {90, 25e9, 20.6e9},
                                                      {86, 14.0625e9, 12e9},
                                                      {80, 25e9, 20e9},
                                                      {70, 25e9, 20e9},
                                                      {0, 20e9, 18e9}}};
  const auto& row = *std::find_if(generations.begin(), generations.end(),
                                  [&](const Generation& g) { return compute_capability >= g.from; });
  return {{row.line}, row.reached / row.line, scale_up_latency};
}

std::optional<int> compute_capability(std::string_view architecture) {
  constexpr std::array<std::pair<std::string_view, int>, 7> known = {{{"pascal", 60},
                                                                      {"volta", 70},
                                                                      {"turing", 75},
                                                                      {"ampere", 80},
                                                                      {"hopper", 90},
                                                                      {"blackwell", 100},
                                                                      {"blackwell_ultra", 100}}};
  for (const auto& [name, capability] : known) {
    if (name == architecture) return capability;
  }
  return std::nullopt;
}

LinkClass pcie_rate(double transfers, double lanes) {
  const double coding = transfers <= 5 ? 0.8 : 128.0 / 130.0;
  const double efficiency = transfers > 31 ? 0.87 : transfers > 15 ? 0.83 : 0.76;
  return {{transfers * 1e9 * lanes / 8 * coding}, efficiency, pcie_latency};
}

LinkClass pcie_rate_of(BytesPerSecond line_rate) {
  LinkClass rate = pcie_rate(line_rate.value / 1e9 / 2 * 130 / 128, 16);
  rate.bandwidth = line_rate;
  return rate;
}

LinkClass socket_rate(std::string_view arch, std::string_view vendor, int model) {
  double rate = 6e9;
  if (vendor == "AuthenticAMD") {
    rate = 16e9;
  } else if (arch == "ppc64") {
    rate = 32e9;
  } else if (vendor == "GenuineIntel") {
    rate = model >= 143 ? 22e9 : model >= 85 ? 10e9 : 6e9;
  }
  return {{rate}, 1, socket_latency};
}

}  // namespace moesim
