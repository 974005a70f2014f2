#include "metrics/binding.h"

#include <fmt/core.h>

#include <algorithm>

namespace moesim {

namespace {

double share(Duration part, Duration whole) {
  return whole > Duration() ? part / whole : 0;
}

/// Why a part of the time is long, as far as its name says.
std::string_view reason(TimePart part) {
  switch (part) {
    case TimePart::attention:
      return "projections and reading the KV cache";
    case TimePart::dense_ffn:
      return "reading and multiplying the dense FFN weights";
    case TimePart::experts:
      return "reading and multiplying the experts that tokens chose";
    case TimePart::dispatch:
    case TimePart::combine:
      return "moving tokens between expert ranks";
    case TimePart::tensor_parallel:
      return "all-reduces between tensor-parallel ranks";
    case TimePart::pipeline_wait:
      return "stages waiting for each other";
    case TimePart::straggler_wait:
      return "all ranks waiting for the one with the most work";
    case TimePart::router:
      return "gates";
    case TimePart::head:
      return "embedding, LM head and sampling";
    case TimePart::host:
      return "the device waiting for the host";
    case TimePart::kv_transfer:
      return "moving the KV cache";
    case TimePart::offload:
      return "moving weights from the host";
    case TimePart::draft:
      return "drafting";
    case TimePart::idle:
      return "nothing to do";
  }
  return {};
}

}  // namespace

std::string spoken(TimePart part) {
  std::string words(name(part));
  std::replace(words.begin(), words.end(), '_', ' ');
  return words;
}

std::vector<std::string> what_binds(const RunResult& result) {
  std::vector<std::string> lines;
  const Duration total = result.breakdown.total();
  if (total <= Duration()) return lines;
  const double idle = share(result.breakdown[TimePart::idle], total);
  if (idle > 0.3) {
    lines.push_back(fmt::format("the load: engines have nothing to do in {:.0f} % of the time", idle * 100));
  }
  double cache = 0;
  for (const PoolMemory& pool : result.memory) {
    if (pool.kv_blocks_total > 0) {
      cache = std::max(cache, static_cast<double>(pool.kv_blocks_peak) / static_cast<double>(pool.kv_blocks_total));
    }
  }
  if (result.preemptions > 0 || cache > 0.97) {
    lines.push_back(
        fmt::format("the KV cache: {:.0f} % in use at the peak, {} preemptions", cache * 100, result.preemptions));
  }
  double waiting = 0, first = 0;
  for (const RequestRecord& request : result.requests) {
    if (request.outcome != RequestOutcome::finished) continue;
    waiting += (request.scheduled - request.queued).seconds();
    first += request.ttft().seconds();
  }
  if (first > 0 && waiting > 0.3 * first) {
    lines.push_back(fmt::format("the queue: {:.0f} % of TTFT is waiting for a step to end and a place in the next",
                                100 * waiting / first));
  }
  TimePart largest = TimePart::attention;
  for (std::size_t i = 0; i < kTimeParts; ++i) {
    const auto part = static_cast<TimePart>(i);
    if (part != TimePart::idle && result.breakdown[part] > result.breakdown[largest]) largest = part;
  }
  const Duration working = total - result.breakdown[TimePart::idle];
  lines.push_back(fmt::format("{}: {:.0f} % of the working time, {}", spoken(largest),
                              100 * share(result.breakdown[largest], working), reason(largest)));
  if (lines.size() > 3) lines.resize(3);
  return lines;
}

}  // namespace moesim
