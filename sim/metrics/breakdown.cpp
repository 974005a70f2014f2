#include "metrics/breakdown.h"

namespace moesim {

std::string_view name(TimePart part) {
  switch (part) {
    case TimePart::attention:
      return "attention";
    case TimePart::dense_ffn:
      return "dense_ffn";
    case TimePart::experts:
      return "experts";
    case TimePart::dispatch:
      return "dispatch";
    case TimePart::combine:
      return "combine";
    case TimePart::tensor_parallel:
      return "tensor_parallel";
    case TimePart::pipeline_wait:
      return "pipeline_wait";
    case TimePart::straggler_wait:
      return "straggler_wait";
    case TimePart::router:
      return "router";
    case TimePart::head:
      return "head";
    case TimePart::host:
      return "host";
    case TimePart::kv_transfer:
      return "kv_transfer";
    case TimePart::offload:
      return "offload";
    case TimePart::draft:
      return "draft";
    case TimePart::idle:
      return "idle";
  }
  return {};
}

std::string_view name(Resource resource) {
  switch (resource) {
    case Resource::compute:
      return "compute";
    case Resource::network:
      return "network";
    case Resource::host:
      return "host";
  }
  return {};
}

Duration Breakdown::total() const {
  Duration sum;
  for (const Duration part : parts) sum += part;
  return sum;
}

Breakdown& Breakdown::operator+=(const Breakdown& other) {
  for (std::size_t i = 0; i < kTimeParts; ++i) parts[i] += other.parts[i];
  return *this;
}

}  // namespace moesim
