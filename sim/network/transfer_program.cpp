#include "network/transfer_program.h"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>

#include "core/check.h"

namespace moesim {

std::uint32_t TransferProgram::add_port(BytesPerSecond rate) {
  MOESIM_CHECK(rate.value > 0, "a port of {} B/s", rate.value);
  ports_.push_back(rate);
  return static_cast<std::uint32_t>(ports_.size() - 1);
}

void TransferProgram::add_round(Duration latency, Duration release) {
  rounds_.push_back({static_cast<std::uint32_t>(transfers_.size()), 0, latency, release});
}

void TransferProgram::scale_ports(double factor) {
  for (BytesPerSecond& port : ports_) port.value *= factor;
}

void TransferProgram::add(GpuId from, GpuId to, std::span<const LinkId> path, Bytes bytes, std::uint32_t out_port,
                          std::uint32_t in_port, std::uint32_t count) {
  MOESIM_CHECK(!rounds_.empty(), "a transfer before the first round");
  MOESIM_CHECK(bytes.value >= 0 && count > 0, "{} transfers of {} bytes", count, bytes.value);
  transfers_.push_back({from, to, bytes, static_cast<std::uint32_t>(links_.size()),
                        static_cast<std::uint32_t>(path.size()), out_port, in_port, count});
  links_.insert(links_.end(), path.begin(), path.end());
  ++rounds_.back().transfers;
}

void TransferProgram::append(const TransferProgram& other) {
  const auto ports = static_cast<std::uint32_t>(ports_.size());
  const auto shifted = [&](std::uint32_t port) { return port == kNoPort ? kNoPort : port + ports; };
  ports_.insert(ports_.end(), other.ports_.begin(), other.ports_.end());
  for (const TransferRound& round : other.rounds_) {
    add_round(round.latency, round.release);
    for (const Transfer& t : other.transfers().subspan(round.first, round.transfers)) {
      add(t.from, t.to, other.links_of(t), t.bytes, shifted(t.out_port), shifted(t.in_port), t.count);
    }
  }
}

Bytes nearly_equal_part(Bytes bytes, std::size_t i, std::size_t parts) {
  __extension__ typedef __int128 Wide;
  const auto up_to = [&](std::size_t k) {
    return static_cast<std::int64_t>(static_cast<Wide>(bytes.value) * static_cast<Wide>(k) / static_cast<Wide>(parts));
  };
  return {up_to(i + 1) - up_to(i)};
}

double port_seconds(const TransferProgram& program) {
  double seconds = 0;
  std::vector<double> bytes(program.ports().size());
  for (const TransferRound& round : program.rounds()) {
    std::fill(bytes.begin(), bytes.end(), 0.0);
    double busiest = 0;
    for (const Transfer& transfer : program.transfers().subspan(round.first, round.transfers)) {
      for (const std::uint32_t port : {transfer.out_port, transfer.in_port}) {
        if (port == kNoPort) continue;
        bytes[port] += static_cast<double>(transfer.bytes.value) * transfer.count;
        busiest = std::max(busiest, bytes[port] / program.ports()[port].value);
      }
    }
    seconds += busiest;
  }
  return seconds;
}

ProgramTime closed_form(const Topology& topology, const TransferProgram& program) {
  // Only what a round touches is visited: programs may have many small rounds.
  std::unordered_map<std::uint32_t, double> on_link, on_port;
  const std::span<const Link> links = topology.links();
  ProgramTime time;
  for (const TransferRound& round : program.rounds()) {
    on_link.clear();
    on_port.clear();
    for (const Transfer& transfer : program.transfers().subspan(round.first, round.transfers)) {
      const double bytes = static_cast<double>(transfer.bytes.value) * transfer.count;
      for (const LinkId link : program.links_of(transfer)) on_link[link.value] += bytes;
      if (transfer.out_port != kNoPort) on_port[transfer.out_port] += bytes;
      if (transfer.in_port != kNoPort) on_port[transfer.in_port] += bytes;
    }
    double busiest = 0;  // a maximum: the order of the maps does not enter
    for (const auto& [link, bytes] : on_link) {
      busiest = std::max(busiest, bytes / (links[link].rate.bandwidth.value * links[link].rate.efficiency));
    }
    for (const auto& [port, bytes] : on_port) busiest = std::max(busiest, bytes / program.ports()[port].value);
    const Duration so_far = time.total();
    if (round.release > so_far) time.waiting += round.release - so_far;
    time.seconds += busiest;
    time.latency += round.latency;
  }
  return time;
}

}  // namespace moesim
