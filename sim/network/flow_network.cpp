#include "network/flow_network.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/check.h"
#include "network/max_min_sharing.h"
#include "network/min_tree.h"
#include "network/service_clock.h"

namespace moesim {

struct FlowNetwork::State {
  struct Port {
    ServiceClock clock;
    std::int64_t carried = 0;  // bytes of flows that have ended
    Rate peak = 0;
  };
  struct Transfer {
    Bytes bytes;
    std::uint32_t id = 0;
  };

  /// Brings rates, clocks and finishes up to date with the starts and finishes at `now`.
  void settle();
  void go_to(Instant time);
  void schedule(std::uint32_t link) { finishes.set(link, ports[link].clock.finish(sharing.level(link)).ps()); }
  void finish(std::uint32_t link, std::vector<FlowId>& finished);

  MaxMinSharing sharing;
  std::vector<Port> ports;            // by link
  std::vector<Transfer> transfers;    // by flow of `sharing`
  std::vector<std::uint32_t> places;  // of flows on the clock of their owner
  std::deque<std::uint32_t> flow_of;  // by id, from first_id on
  std::uint32_t first_id = 0;
  MinTree finishes;  // of the first flow of each clock, ps
  Instant now;
};

void FlowNetwork::State::settle() {
  if (sharing.solved()) return;
  const MaxMinSharing::Changes& changes = sharing.solve();
  for (const auto& [link, level_before] : changes.links)
    if (level_before != sharing.level(link)) ports[link].clock.run(now, level_before);
  // From here on all clocks run at the present levels.
  for (const auto& [flow, from] : changes.flows) {
    const std::uint32_t to = sharing.owner(flow);
    if (from == to) continue;
    Service left = static_cast<Service>(transfers[flow].bytes.value) * kServiceUnits;
    if (from != MaxMinSharing::nobody) {
      ServiceClock& clock = ports[from].clock;
      const Service goal = clock.at(places[flow]).at, given = clock.given_at(now, sharing.level(from));
      left = goal > given ? goal - given : 0;  // 0: it ends now
      clock.remove(places[flow], places);
    }
    ServiceClock& clock = ports[to].clock;
    clock.add({clock.given_at(now, sharing.level(to)) + left, flow}, places);
  }
  for (const auto& [flow, from] : changes.flows) {
    // Most of them are looked at, and follow below.
    const std::uint32_t to = sharing.owner(flow);
    if (from != MaxMinSharing::nobody && !sharing.looked_at(from)) schedule(from);
    if (!sharing.looked_at(to)) schedule(to);
  }
  for (const auto& [link, level_before] : changes.links) {
    schedule(link);
    ports[link].peak = std::max(ports[link].peak, sharing.load(link));
  }
  for (const std::uint32_t link : changes.loads) ports[link].peak = std::max(ports[link].peak, sharing.load(link));
}

void FlowNetwork::State::go_to(Instant time) {
  if (time == now) return;
  settle();
  MOESIM_CHECK(time > now && time.ps() <= finishes.least(), "from {} ps to {} ps with a finish at {} ps", now.ps(),
               time.ps(), finishes.least());
  now = time;
}

/// Ends the flows of the link whose goal is reached now.
void FlowNetwork::State::finish(std::uint32_t link, std::vector<FlowId>& finished) {
  ServiceClock& clock = ports[link].clock;
  const Service given = clock.given_at(now, sharing.level(link));
  while (!clock.empty() && clock.first().at <= given) {
    const std::uint32_t flow = clock.first().flow;
    const Transfer& transfer = transfers[flow];
    clock.remove(0, places);
    finished.push_back(FlowId{transfer.id});
    flow_of[transfer.id - first_id] = MaxMinSharing::nobody;
    const std::int64_t bytes = transfer.bytes.value * sharing.weight(flow);
    for (std::size_t hop = 0; hop < sharing.path_length(flow); ++hop)
      ports[sharing.link_of(flow, hop)].carried += bytes;
    sharing.remove_flow(flow);
  }
  finishes.set(link, MinTree::none);  // until the rates are known
}

FlowNetwork::FlowNetwork(std::span<const BytesPerSecond> capacities) : state_(std::make_unique<State>()) {
  for (const BytesPerSecond capacity : capacities) add_link(capacity);
}
FlowNetwork::~FlowNetwork() = default;
FlowNetwork::FlowNetwork(FlowNetwork&&) noexcept = default;
FlowNetwork& FlowNetwork::operator=(FlowNetwork&&) noexcept = default;

std::uint32_t FlowNetwork::add_link(BytesPerSecond capacity) {
  MOESIM_CHECK(capacity.value <= 1e15, "a link of {} B/s", capacity.value);
  const std::uint32_t link = state_->sharing.add_link(std::llrint(capacity.value * kRateUnits));
  state_->ports.resize(state_->sharing.link_slots());
  state_->ports[link] = State::Port();
  return link;
}

void FlowNetwork::remove_link(std::uint32_t link) {
  state_->sharing.remove_link(link);
}

FlowId FlowNetwork::start(Instant now, std::span<const std::uint32_t> links, Bytes bytes, std::uint32_t count) {
  State& s = *state_;
  MOESIM_CHECK(bytes.value > 0, "a flow of {} bytes", bytes.value);
  s.go_to(now);
  const std::uint32_t flow = s.sharing.add_flow(links, count);
  if (flow >= s.transfers.size()) {
    s.transfers.resize(flow + 1);
    s.places.resize(flow + 1);
  }
  const auto id = static_cast<std::uint32_t>(s.first_id + s.flow_of.size());
  MOESIM_CHECK(id != UINT32_MAX, "more than {} flows", id);
  s.flow_of.push_back(flow);
  s.transfers[flow] = {bytes, id};
  return FlowId{id};
}

Instant FlowNetwork::next_time() const {
  state_->settle();
  return Instant::at(Duration::picoseconds(state_->finishes.least()));
}

void FlowNetwork::advance(Instant now, std::vector<FlowId>& finished) {
  State& s = *state_;
  s.go_to(now);
  s.settle();
  const auto first = static_cast<std::ptrdiff_t>(finished.size());
  while (s.finishes.least() == now.ps()) s.finish(static_cast<std::uint32_t>(s.finishes.first()), finished);
  std::sort(finished.begin() + first, finished.end());
  while (!s.flow_of.empty() && s.flow_of.front() == MaxMinSharing::nobody) {
    s.flow_of.pop_front();
    ++s.first_id;
  }
}

BytesPerSecond FlowNetwork::rate(FlowId flow) const {
  State& s = *state_;
  s.settle();
  return {static_cast<double>(s.sharing.level(s.sharing.owner(s.flow_of[flow.value - s.first_id]))) / kRateUnits};
}

double FlowNetwork::carried(std::uint32_t link) const {
  State& s = *state_;
  s.settle();
  auto bytes = static_cast<double>(s.ports[link].carried);
  for (const std::uint32_t flow : s.sharing.flows_on(link)) {
    const std::uint32_t owner = s.sharing.owner(flow);
    const ServiceClock& clock = s.ports[owner].clock;
    const Service goal = clock.at(s.places[flow]).at, given = clock.given_at(s.now, s.sharing.level(owner));
    const double left = goal > given ? static_cast<double>(goal - given) / static_cast<double>(kServiceUnits) : 0;
    bytes += (static_cast<double>(s.transfers[flow].bytes.value) - left) * s.sharing.weight(flow);
  }
  return bytes;
}

double FlowNetwork::peak_rate(std::uint32_t link) const {
  state_->settle();
  return static_cast<double>(state_->ports[link].peak) / kRateUnits;
}

std::uint64_t FlowNetwork::work() const {
  state_->settle();
  return state_->sharing.work();
}

}  // namespace moesim
