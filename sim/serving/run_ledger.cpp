#include "serving/run_ledger.h"

namespace moesim {

RunLedger::RunLedger(std::span<const Request> requests, std::size_t replicas, Duration detokenize)
    : detokenize_(detokenize),
      records_(requests.size()),
      last_emission_(requests.size()),
      emitted_(requests.size()),
      fingerprints_(replicas) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    records_[i].input_tokens = requests[i].input_tokens;
    records_[i].output_tokens = requests[i].output_tokens;
    records_[i].arrival = requests[i].arrival;
  }
}

void RunLedger::note(DomainEvent event, RequestId request, Instant now) {
  Fingerprint& fingerprint = fingerprints_[records_[request.value].replica];
  fingerprint.add(static_cast<std::uint64_t>(event) << 32 | request.value);
  fingerprint.add(now.ps());
}

void RunLedger::delivered(RequestId request, Instant now, ReplicaId replica, std::uint32_t rank) {
  RequestRecord& record = records_[request.value];
  record.replica = replica.value;
  record.rank = rank;
  record.queued = now;
  note(DomainEvent::delivered, request, now);
}

void RunLedger::rejected(RequestId request) {
  records_[request.value].outcome = RequestOutcome::rejected;
  just_ended_.emplace_back(request, records_[request.value].arrival);
  ++ended_;
}

void RunLedger::admitted(RequestId request, Instant start) {
  RequestRecord& record = records_[request.value];
  if (record.preemptions == 0) record.scheduled = start;
  note(DomainEvent::admitted, request, start);
}

void RunLedger::preempted(RequestId request, Instant now, Instant last_emission) {
  ++records_[request.value].preemptions;
  last_emission_[request.value] = last_emission;
  note(DomainEvent::preempted, request, now);
}

void RunLedger::prefilled(RequestId request, Instant end) {
  RequestRecord& record = records_[request.value];
  if (emitted_[request.value]) {
    gap(end - last_emission_[request.value], 1);
    return;
  }
  emitted_[request.value] = true;
  record.first_token = end + detokenize_;
  note(DomainEvent::first_token, request, end);
}

void RunLedger::finished(RequestId request, Instant end) {
  RequestRecord& record = records_[request.value];
  record.last_token = end + detokenize_;
  record.outcome = RequestOutcome::finished;
  note(DomainEvent::finished, request, end);
  just_ended_.emplace_back(request, record.last_token);
  ++ended_;
}

std::vector<std::pair<RequestId, Instant>> RunLedger::take_ended() {
  std::vector<std::pair<RequestId, Instant>> ended;
  ended.swap(just_ended_);
  return ended;
}

std::uint64_t RunLedger::fingerprint() const {
  Fingerprint all;
  for (const Fingerprint& replica : fingerprints_) all.add(replica.value());
  return all.value();
}

}  // namespace moesim
