#pragma once
// What the clients of a run saw: every request's times, and the gaps between tokens.

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "core/fingerprint.h"
#include "core/ids.h"
#include "core/statistics.h"
#include "metrics/run_result.h"
#include "workload/request.h"

namespace moesim {

/// Domain events that enter a replica's fingerprint.
enum class DomainEvent : std::uint8_t { delivered, admitted, preempted, first_token, finished };

class RunLedger {
 public:
  RunLedger(std::span<const Request> requests, std::size_t replicas, Duration detokenize);

  void delivered(RequestId request, Instant now, ReplicaId replica, std::uint32_t rank);
  void rejected(RequestId request);
  void admitted(RequestId request, Instant start);
  /// `last_emission`: when the sequences of its batch emitted last.
  void preempted(RequestId request, Instant now, Instant last_emission);
  /// The prompt (and what had been generated before a preemption) is computed at `end`: a token leaves.
  void prefilled(RequestId request, Instant end);
  void finished(RequestId request, Instant end);
  /// `sequences` emitted a token `gap` after their last one.
  void gap(Duration gap, std::int64_t sequences) { gaps_.add(gap.ps(), sequences); }

  /// Requests that ended since the last call, with the time at which their client knows.
  std::vector<std::pair<RequestId, Instant>> take_ended();
  void forget_ended() { just_ended_.clear(); }
  std::int64_t ended() const { return ended_; }

  std::vector<RequestRecord>& records() { return records_; }
  Distribution<std::int64_t>& gaps() { return gaps_; }
  /// Combined over replicas in their order: independent of how replicas interleave.
  std::uint64_t fingerprint() const;

 private:
  void note(DomainEvent event, RequestId request, Instant now);

  Duration detokenize_;
  std::vector<RequestRecord> records_;
  std::vector<Instant> last_emission_;  ///< of preempted requests
  std::vector<bool> emitted_;
  std::vector<Fingerprint> fingerprints_;
  Distribution<std::int64_t> gaps_;
  std::vector<std::pair<RequestId, Instant>> just_ended_;
  std::int64_t ended_ = 0;
};

}  // namespace moesim
