#include "calibration/kernel_range.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace moesim {

namespace {

using Sizes = std::vector<std::pair<std::string_view, std::int64_t>>;

Sizes sizes_of(const TimedGemm& t) {
  return {{"m", t.shape.m}, {"n", t.shape.n}, {"k", t.shape.k}, {"batch", t.shape.batch}};
}
Sizes sizes_of(const TimedExperts& t) {
  return {{"tokens", t.load.tokens},
          {"rows", t.load.rows},
          {"active experts", t.load.active},
          {"hidden", t.shape.hidden},
          {"expert width", t.shape.intermediate}};
}
Sizes sizes_of(const TimedAttention& t) {
  Sizes sizes{{"query heads", t.shape.query_heads}, {"KV heads", t.shape.kv_heads}};
  if (t.decode.sequences > 0) {
    sizes.emplace_back("sequences", t.decode.sequences);
    sizes.emplace_back("keys", t.decode.visible_keys / t.decode.sequences);
  }
  if (!t.prefill.empty()) {
    sizes.emplace_back("chunks", t.prefill.size());
    sizes.emplace_back("new tokens", t.prefill.front().new_tokens);
  }
  return sizes;
}
Sizes sizes_of(const TimedQuantize& t) {
  return {{"m", t.m}, {"k", t.k}};
}
Sizes sizes_of(const TimedRecurrence& t) {
  return {{"decode sequences", t.work.decode_sequences}, {"prefill tokens", t.work.prefill_tokens}};
}
Sizes sizes_of(const TimedPass& t) {
  return {{"bytes", t.bytes.value}};
}

}  // namespace

std::string fit_range(std::span<const KernelSample* const> samples) {
  struct Range {
    std::string_view what;
    std::int64_t least, most;
  };
  std::vector<Range> ranges;
  for (const KernelSample* sample : samples) {
    for (const auto& [what, size] : std::visit([](const auto& timed) { return sizes_of(timed); }, sample->timed)) {
      const auto found = std::find_if(ranges.begin(), ranges.end(), [&](const Range& r) { return r.what == what; });
      if (found == ranges.end()) {
        ranges.push_back({what, size, size});
      } else {
        found->least = std::min(found->least, size);
        found->most = std::max(found->most, size);
      }
    }
  }
  std::string text;
  for (const Range& r : ranges) {
    if (r.most <= 1 && r.what == "batch") continue;
    text += text.empty() ? "" : ", ";
    text +=
        r.least == r.most ? fmt::format("{} {}", r.what, r.least) : fmt::format("{} {} to {}", r.what, r.least, r.most);
  }
  return text;
}

}  // namespace moesim
