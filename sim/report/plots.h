#pragma once
// Plots through gnuplot, written whole or not at all.

#include <filesystem>
#include <span>
#include <string>

#include "metrics/run_result.h"

namespace moesim {

/// Whether the gnuplot program is on the PATH.
bool gnuplot_found();

/// Distribution functions of TTFT, TPOT and end-to-end latency. Returns the problem in one line, empty when done;
/// writes nothing when no request finished.
std::string plot_latency(const RunResult& result, const std::filesystem::path& file);

/// Step time and batch size over time.
std::string plot_step_time(const RunResult& result, const std::filesystem::path& file);

/// Throughput, TTFT and TPOT of several results as bars, and where their time goes.
std::string plot_comparison(std::span<const RunResult> results, const std::filesystem::path& file);

}  // namespace moesim
