#include "hardware/power.h"

#include <algorithm>

namespace moesim {

std::string_view name(Clocks clocks) {
  switch (clocks) {
    case Clocks::locked:
      return "locked";
    case Clocks::sustained:
      return "sustained";
  }
  return {};
}

Energy& Energy::operator+=(const Energy& other) {
  idle += other.idle;
  awake += other.awake;
  compute += other.compute;
  memory += other.memory;
  network += other.network;
  return *this;
}

Energy operator*(Energy energy, double factor) {
  energy.idle *= factor;
  energy.awake *= factor;
  energy.compute *= factor;
  energy.memory *= factor;
  energy.network *= factor;
  return energy;
}

namespace {

/// Time that a lower clock adds to the whole, and to the part in which kernels run.
double prolonged(const GpuActivity& activity, double clock) {
  return activity.clocked_seconds * (1 / clock - 1);
}

}  // namespace

Energy energy_at(const PowerModel& power, const GpuActivity& activity, double clock) {
  const double more = prolonged(activity, clock);
  Energy energy;
  energy.idle = power.idle * (activity.seconds + more);
  energy.awake = power.awake * clock * clock * clock * (activity.awake_seconds + more);
  for (std::size_t i = 0; i < kMathWidths; ++i) energy.compute += power.per_flop[i] * activity.work.flops[i];
  energy.compute *= clock * clock;
  energy.memory = power.per_memory_byte * activity.work.memory_bytes;
  energy.network = power.per_link_byte * activity.work.link_bytes;
  return energy;
}

double clock_under_limit(const PowerModel& power, const GpuActivity& activity) {
  const auto keeps = [&](double clock) {
    const double seconds = activity.seconds + prolonged(activity, clock);
    return energy_at(power, activity, clock).total() <= power.limit * seconds;
  };
  if (keeps(1)) return 1;
  if (!keeps(power.lowest_clock)) return power.lowest_clock;
  double low = power.lowest_clock, high = 1;
  // 2^-20 of the clock is far below what any figure shows.
  for (int i = 0; i < 20; ++i) {
    const double middle = (low + high) / 2;
    (keeps(middle) ? low : high) = middle;
  }
  return low;
}

Energy within_limit(const PowerModel& power, const Energy& energy, double seconds) {
  const double most = power.limit * seconds, active = energy.total() - energy.idle;
  if (energy.total() <= most || active <= 0) return energy;
  const double idle = std::min(energy.idle, most);
  Energy kept = energy * ((most - idle) / active);
  kept.idle = idle;
  return kept;
}

}  // namespace moesim
