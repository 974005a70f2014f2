#include "network/bounded_sharing.h"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/math.h"

namespace moesim {
namespace {

/// Flows with a number of bytes left, and their max-min fair rates by progressive filling.
class Filling {
 public:
  Filling(std::span<const BytesPerSecond> capacities, std::span<const SizedPath> flows)
      : capacities_(capacities), flows_(flows), left_(flows.size()), rate_(flows.size()), active_(flows.size()) {
    for (std::size_t f = 0; f < flows.size(); ++f) {
      left_[f] = static_cast<double>(flows[f].bytes.value);
      active_[f] = static_cast<std::uint32_t>(f);
    }
    list();
  }

  std::size_t active() const { return active_.size(); }

  /// Rates of the active flows. Those that would end within `horizon` seconds at the rates so far keep their mean rate
  /// over it instead; a horizon of 0 fixes none.
  void fill(double horizon);

  /// Seconds until the n-th of the active flows ends, 1 <= n <= active.
  double time_of_end(std::size_t n) {
    ends_.clear();
    for (const std::uint32_t f : active_) ends_.push_back(left_[f] / rate_[f]);
    const auto nth = ends_.begin() + static_cast<std::ptrdiff_t>(n - 1);
    std::nth_element(ends_.begin(), nth, ends_.end());
    return *nth;
  }

  /// Moves bytes for so many seconds and drops the flows that are through.
  void run(double seconds) {
    std::erase_if(active_, [&](std::uint32_t f) {
      left_[f] -= rate_[f] * seconds;
      return left_[f] <= 1e-9 * static_cast<double>(flows_[f].bytes.value);
    });
    list();
  }

 private:
  struct Link {
    double left = 0;  // capacity that flows with a rate leave
    std::uint32_t rising = 0, first = 0, size = 0;
  };

  void list();

  void give(std::uint32_t flow, double rate) {
    rate_[flow] = rate;
    for (const std::uint32_t l : flows_[flow].links) {
      links_[l].left -= rate;
      --links_[l].rising;
    }
  }

  std::span<const BytesPerSecond> capacities_;
  std::span<const SizedPath> flows_;
  std::vector<double> left_, rate_;
  std::vector<std::uint32_t> active_;
  std::vector<Link> links_;
  std::vector<std::uint32_t> on_link_;  // active flows, link after link
  std::vector<std::pair<double, std::uint32_t>> queue_;
  std::vector<double> ends_;
};

/// Lists the active flows of each link.
void Filling::list() {
  links_.assign(capacities_.size(), {});
  for (const std::uint32_t f : active_)
    for (const std::uint32_t l : flows_[f].links) ++links_[l].size;
  std::uint32_t first = 0;
  for (Link& link : links_) {
    link.first = first;
    first += std::exchange(link.size, 0);
  }
  on_link_.resize(first);
  for (const std::uint32_t f : active_)
    for (const std::uint32_t l : flows_[f].links) on_link_[links_[l].first + links_[l].size++] = f;
}

void Filling::fill(double horizon) {
  for (std::size_t l = 0; l < links_.size(); ++l) {
    links_[l].left = capacities_[l].value;
    links_[l].rising = links_[l].size;
  }
  for (const std::uint32_t f : active_)
    if (left_[f] > rate_[f] * horizon) rate_[f] = 0;  // rises
  for (const std::uint32_t f : active_)
    if (rate_[f] > 0) give(f, left_[f] / horizon);
  queue_.clear();
  for (std::uint32_t l = 0; l < links_.size(); ++l)
    if (links_[l].rising > 0) queue_.emplace_back(links_[l].left / links_[l].rising, l);
  std::make_heap(queue_.begin(), queue_.end(), std::greater<>());
  while (!queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
    const auto [level, l] = queue_.back();
    queue_.pop_back();
    const Link& link = links_[l];
    if (link.rising == 0) continue;
    // Levels only rise while flows stop elsewhere: one that is out of date goes back.
    const double now = link.left / link.rising;
    if (now > level) {
      queue_.emplace_back(now, l);
      std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
      continue;
    }
    for (std::uint32_t i = 0; i < link.size; ++i)
      if (const std::uint32_t f = on_link_[link.first + i]; rate_[f] == 0) give(f, level);
  }
}

}  // namespace

BoundedTime bounded_time(std::span<const BytesPerSecond> capacities, std::span<const SizedPath> flows,
                         std::uint32_t epochs) {
  MOESIM_CHECK(epochs > 0, "{} epochs", epochs);
  std::vector<double> bytes(capacities.size());
  for (const SizedPath& flow : flows)
    for (const std::uint32_t l : flow.links) bytes[l] += static_cast<double>(flow.bytes.value);
  double lower = 0;
  for (std::size_t l = 0; l < bytes.size(); ++l) lower = std::max(lower, bytes[l] / capacities[l].value);

  constexpr double tail = 64;
  const double all = static_cast<double>(flows.size());
  const double share = all > tail ? 1 - power(tail / all, 1.0 / epochs) : 0;
  Filling filling(capacities, flows);
  BoundedTime result;
  double time = 0;
  while (filling.active() > 0) {
    filling.fill(0);
    ++result.solves;
    const auto ends = static_cast<std::size_t>(share * static_cast<double>(filling.active()));
    const double length = filling.time_of_end(std::max<std::size_t>(ends, 1));
    if (ends > 1) {
      filling.fill(length);
      ++result.solves;
    }
    filling.run(length);
    time += length;
  }
  result.lower = Duration::from_seconds(lower);
  result.estimate = Duration::from_seconds(std::max(lower, time));
  return result;
}

}  // namespace moesim
