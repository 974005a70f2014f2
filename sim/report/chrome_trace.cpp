#include "report/chrome_trace.h"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <tuple>

#include "report/number_text.h"

namespace moesim {

namespace {

/// GPU g computes in lane 3 g + 1, communicates in 3 g + 2; its host is 3 g + 3. Lane 0 holds the counters.
std::uint32_t lane_of(const TraceEvent& event) {
  return 3 * event.gpu + 1 + static_cast<std::uint32_t>(event.lane);
}

std::string_view lane_name(Resource lane) {
  switch (lane) {
    case Resource::compute:
      return "compute";
    case Resource::network:
      return "communication";
    case Resource::host:
      return "host";
  }
  return {};
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

}  // namespace

std::string chrome_trace(std::span<const TraceEvent> events) {
  std::string json = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const auto out = std::back_inserter(json);
  bool first = true;
  const auto begin = [&] {
    json += first ? "\n" : ",\n";
    first = false;
  };
  std::map<std::uint32_t, std::string> replicas;
  std::map<std::tuple<std::uint32_t, std::uint32_t, Resource>, std::string> lanes;
  bool links = false;
  for (const TraceEvent& event : events) {
    links = links || event.link_bytes_per_second;
    if (event.link_bytes_per_second) continue;
    const bool own = !event.lane_name.empty();
    replicas.emplace(event.replica, own ? "program" : fmt::format("replica {}", event.replica));
    if (event.counters) continue;
    lanes.try_emplace({event.replica, event.gpu, event.lane},
                      own ? event.lane_name : fmt::format("gpu{} {}", event.gpu, lane_name(event.lane)));
  }
  for (const auto& [replica, name] : replicas) {
    begin();
    fmt::format_to(out, R"({{"ph":"M","name":"process_name","pid":{},"tid":0,"args":{{"name":"{}"}}}})", replica, name);
  }
  const std::uint32_t network =
      replicas.empty() ? 0 : replicas.rbegin()->first + 1;  // a process of its own behind them
  if (links) {
    begin();
    fmt::format_to(out, R"({{"ph":"M","name":"process_name","pid":{},"tid":0,"args":{{"name":"network"}}}})", network);
  }
  for (const auto& [key, name] : lanes) {
    const auto& [replica, gpu, lane] = key;
    const std::uint32_t id = 3 * gpu + 1 + static_cast<std::uint32_t>(lane);
    begin();
    fmt::format_to(out, R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"{}"}}}})", replica, id,
                   escaped(name));
    begin();
    fmt::format_to(out, R"({{"ph":"M","name":"thread_sort_index","pid":{},"tid":{},"args":{{"sort_index":{}}}}})",
                   replica, id, id);
  }
  for (const TraceEvent& event : events) {
    begin();
    const std::string start = exact_decimal(event.start.ps(), 6);
    if (event.link_bytes_per_second) {
      fmt::format_to(out, R"({{"ph":"C","name":"link {} GB/s","pid":{},"tid":0,"ts":{},"args":{{"GB/s":{:.6g}}}}})",
                     escaped(event.name), network, start, *event.link_bytes_per_second / 1e9);
      continue;
    }
    if (event.counters) {
      fmt::format_to(out,
                     R"({{"ph":"C","name":"batch","pid":{},"tid":0,"ts":{},"args":{{"sequences":{},"tokens":{}}}}})",
                     event.replica, start, event.counters->sequences, event.counters->tokens);
      begin();
      fmt::format_to(out, R"({{"ph":"C","name":"kv_blocks","pid":{},"tid":0,"ts":{},"args":{{"used":{},"free":{}}}}})",
                     event.replica, start, event.counters->blocks_used, event.counters->blocks_free);
      continue;
    }
    fmt::format_to(out, R"({{"ph":"X","cat":"{}","name":"{}","pid":{},"tid":{},"ts":{},"dur":{},"args":{{)",
                   event.lane == Resource::network ? "comm" : lane_name(event.lane), escaped(event.name), event.replica,
                   lane_of(event), start, exact_decimal(event.duration.ps(), 6));
    if (event.lane_name.empty()) fmt::format_to(out, R"("part":"{}",)", name(event.part));
    if (event.tokens > 0) fmt::format_to(out, R"("tokens":{},)", event.tokens);
    if (event.bytes > Bytes()) fmt::format_to(out, R"("bytes":{},)", event.bytes.value);
    if (json.back() == ',') json.pop_back();
    json += "}}";
  }
  return json + "\n]}\n";
}

}  // namespace moesim
