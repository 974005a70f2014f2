#pragma once
// Messages between GPUs in rounds: what a collective, an exchange or a bulk copy asks of the network. The same program
// has a closed form (nothing else on the links) and runs on the flow network beside others.

#include <cstdint>
#include <span>
#include <vector>

#include "core/ids.h"
#include "core/units.h"
#include "network/topology.h"

namespace moesim {

inline constexpr std::uint32_t kNoPort = UINT32_MAX;

/// One message, or `count` equal ones side by side. It occupies its links and both ports while it lasts.
struct Transfer {
  GpuId from, to;
  Bytes bytes;
  std::uint32_t first_link = 0, links = 0;  ///< range of TransferProgram::links(); none for a copy that stays
  std::uint32_t out_port = kNoPort, in_port = kNoPort;  ///< of TransferProgram::ports()
  std::uint32_t count = 1;
};

/// Transfers that may run side by side. A transfer starts `latency` after both of its ends have done what they have in
/// the rounds before, and not before `release` + `latency` from the start of the program.
struct TransferRound {
  std::uint32_t first = 0, transfers = 0;  ///< range of TransferProgram::transfers()
  Duration latency, release;
};

class TransferProgram {
 public:
  /// A port is a limit of the sender or receiver itself (copy engine, SMs, flags of a protocol), private to the
  /// program: physical links are shared with others, ports are not.
  std::uint32_t add_port(BytesPerSecond rate);
  void add_round(Duration latency, Duration release = {});
  /// To the last round. A message without bytes only costs the latency.
  void add(GpuId from, GpuId to, std::span<const LinkId> path, Bytes bytes, std::uint32_t out_port = kNoPort,
           std::uint32_t in_port = kNoPort, std::uint32_t count = 1);
  void set_latency(std::size_t round, Duration latency) { rounds_[round].latency = latency; }
  void scale_ports(double factor);
  /// The rounds of `other` behind one's own, with its ports.
  void append(const TransferProgram& other);

  std::span<const TransferRound> rounds() const { return rounds_; }
  std::span<const Transfer> transfers() const { return transfers_; }
  std::span<const LinkId> links() const { return links_; }
  std::span<const LinkId> links_of(const Transfer& transfer) const {
    return std::span(links_).subspan(transfer.first_link, transfer.links);
  }
  std::span<const BytesPerSecond> ports() const { return ports_; }

 private:
  std::vector<TransferRound> rounds_;
  std::vector<Transfer> transfers_;
  std::vector<LinkId> links_;
  std::vector<BytesPerSecond> ports_;
};

/// Part i of `parts` whole parts that differ by one byte at most; their sum is `bytes`.
Bytes nearly_equal_part(Bytes bytes, std::size_t i, std::size_t parts);

/// What a program takes alone: the sum over its rounds of waiting for the release + latency + max over links and ports
/// of bytes / capacity, a link having its line rate x efficiency.
/// For one round this is a lower bound of the max-min time, equal where the busiest link or port is a bottleneck from
/// the first byte to the last. Between rounds all GPUs wait for each other here, on the flow network only for those
/// with whom they exchange.
struct ProgramTime {
  Duration latency, waiting;
  double seconds = 0;  ///< of the bytes
  Duration total() const { return waiting + latency + Duration::from_seconds(seconds); }
};
ProgramTime closed_form(const Topology& topology, const TransferProgram& program);

/// The same with the ports alone: what the parameters of a protocol say where no link binds.
double port_seconds(const TransferProgram& program);

struct ProgramStart {
  const TransferProgram* program = nullptr;
  Instant start;
};

/// Use of one directed link over a run of programs.
struct LinkCarried {
  LinkId link;
  double bytes = 0;
  BytesPerSecond peak;
};

/// One link carries `rate` from `from` until its next step.
struct RateStep {
  LinkId link;
  Instant from;
  BytesPerSecond rate;
};

struct NetworkRun {
  std::vector<Instant> finish;     ///< of each program; its start where it has no transfers
  std::vector<LinkCarried> links;  ///< those used, ascending
  Instant end;                     ///< the last finish
  std::uint64_t transfers = 0;
  std::vector<RateStep> steps;  ///< with `record_rates`, in order of time
};

enum class RecordRates { no, yes };

/// Programs side by side, every transfer on its links, max-min fair. Deterministic; the order of programs that start
/// together does not matter.
NetworkRun run_programs(const Topology& topology, std::span<const ProgramStart> programs,
                        RecordRates record = RecordRates::no);

/// A program alone on the flow network. Up to `kExactTransfers` transfers it is followed exactly; beyond, every round
/// is estimated by epochs (`bounded_sharing.h`), the rounds of all GPUs one after the other, and `lower` is what no
/// sharing can go below.
struct AloneTime {
  Duration time, lower;
  bool bounded = false;
};
inline constexpr std::size_t kExactTransfers = 1 << 17;
AloneTime alone_time(const Topology& topology, const TransferProgram& program);
/// The estimate, whatever the number of transfers.
AloneTime bounded_alone_time(const Topology& topology, const TransferProgram& program);

}  // namespace moesim
