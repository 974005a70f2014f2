#include "report/network_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report/number_text.h"
#include "report/result_parts.h"

namespace moesim {

using nlohmann::ordered_json;

namespace {

constexpr std::size_t kShownLinks = 12;

std::string time_of(Duration time) {
  return time_text(time.seconds());
}

}  // namespace

std::string network_text(const NetworkResult& result) {
  std::string text = fmt::format(
      "{}\n{}, {} GPUs, {} transfers, all done after {}\n\n", result.name, result.cluster, result.gpus,
      [&] {
        std::uint64_t sum = 0;
        for (const NetworkTaskResult& task : result.tasks) sum += task.transfers;
        return whole_number(static_cast<std::int64_t>(sum));
      }(),
      time_of(result.end - Instant()));
  text += fmt::format("{:<22} {:<42} {:>5} {:>10} {:>10} {:>11} {:>10} {:>10} {:>9}\n", "task", "what", "ranks",
                      "bytes", "start", "closed form", "alone", "here", "slowdown");
  for (const NetworkTaskResult& task : result.tasks) {
    text +=
        fmt::format("{:<22} {:<42} {:>5} {:>10} {:>10} {:>11} {:>10} {:>10} {:>8.2f}x\n", shortened(task.name, 22),
                    shortened(task.what, 42), task.ranks, size_text(task.bytes), time_of(task.start - Instant()),
                    time_of(task.closed_form), time_of(task.alone), time_of(task.finish - task.start), task.slowdown());
  }
  for (const NetworkTaskResult& task : result.tasks) {
    if (!task.bounded) continue;
    text +=
        fmt::format("bounded         {}: {} transfers are estimated by epochs, not followed one by one; at least {}\n",
                    task.name, whole_number(static_cast<std::int64_t>(task.transfers)), time_of(task.lower));
  }
  if (result.links.empty()) return text;
  text += fmt::format("\n{:<36} {:<9} {:>10} {:>12} {:>7}\n", "busiest links (one way)", "class", "bytes",
                      "utilization", "peak");
  for (std::size_t i = 0; i < std::min(kShownLinks, result.links.size()); ++i) {
    const LinkUse& use = result.links[i];
    text += fmt::format("{:<36} {:<9} {:>10} {:>12} {:>7}\n", use.from + " -> " + use.to, use.kind,
                        size_text(Bytes::ceil(use.bytes)), percent(use.utilization), percent(use.peak));
  }
  if (result.links.size() > kShownLinks) {
    text += fmt::format("and {} more; --json lists all\n", result.links.size() - kShownLinks);
  }
  for (const std::string& what : result.provenance.extrapolated) text += "extrapolated    " + what + "\n";
  for (const std::string& note : result.provenance.notes) text += "note            " + note + "\n";
  return text;
}

std::string network_json(const NetworkResult& result) {
  ordered_json json;
  json["scenario"] = result.name;
  json["mode"] = "network";
  json["cluster"] = result.cluster;
  json["gpu"] = result.gpu;
  json["gpus"] = result.gpus;
  json["duration_ms"] = (result.end - Instant()).milliseconds();
  ordered_json tasks = ordered_json::array();
  for (const NetworkTaskResult& task : result.tasks) {
    tasks.push_back({{"name", task.name},
                     {"what", task.what},
                     {"ranks", task.ranks},
                     {"bytes", task.bytes.value},
                     {"transfers", task.transfers},
                     {"start_ms", (task.start - Instant()).milliseconds()},
                     {"finish_ms", (task.finish - Instant()).milliseconds()},
                     {"closed_form_ms", task.closed_form.milliseconds()},
                     {"alone_ms", task.alone.milliseconds()},
                     {"slowdown", task.slowdown()}});
    if (task.bounded) {
      tasks.back()["bounded"] = true;
      tasks.back()["lower_ms"] = task.lower.milliseconds();
    }
  }
  json["program"] = std::move(tasks);
  ordered_json classes = ordered_json::array();
  for (const LinkClassUse& use : result.kinds) {
    classes.push_back({{"link_class", use.kind},
                       {"bytes", Bytes::ceil(use.bytes).value},
                       {"utilization", use.utilization},
                       {"peak", use.peak}});
  }
  json["network"] = std::move(classes);
  json["network_links"] = {{"links", links_json(result.links)}, {"left_out", 0}};
  json["provenance"] = provenance_json(result.provenance);
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace moesim
