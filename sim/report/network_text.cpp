#include "report/network_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "report/describe_run.h"
#include "report/number_text.h"
#include "report/result_parts.h"

namespace moesim {

using nlohmann::ordered_json;

namespace {

constexpr std::size_t kShownLinks = 12;

std::string time_of(Duration time) {
  return time_text(time.seconds());
}

/// The first two columns, as wide as the longest of each.
class Labels {
 public:
  explicit Labels(std::span<const NetworkTaskResult> tasks) {
    for (const NetworkTaskResult& task : tasks) {
      name_ = std::max(name_, task.name.size());
      what_ = std::max(what_, task.what.size());
    }
  }
  std::string line(std::string_view name, std::string_view what) const {
    return fmt::format("{:<{}}  {:<{}}", name, name_, what, what_);
  }

 private:
  std::size_t name_ = 4, what_ = 4;
};

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
  const Labels labels(result.tasks);
  text += labels.line("task", "what") + fmt::format(" {:>5} {:>10} {:>10} {:>11} {:>10} {:>10} {:>9}\n", "ranks",
                                                    "bytes", "start", "closed form", "alone", "here", "slowdown");
  for (const NetworkTaskResult& task : result.tasks) {
    text += labels.line(task.name, task.what) +
            fmt::format(" {:>5} {:>10} {:>10} {:>11} {:>10} {:>10} {:>8.2f}x\n", task.ranks, size_text(task.bytes),
                        time_of(task.start - Instant()), time_of(task.closed_form), time_of(task.alone),
                        time_of(task.finish - task.start), task.slowdown());
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

std::string network_plan_text(const NetworkScenario& scenario, const std::vector<NetworkTaskResult>& plan) {
  std::string text = scenario.name + "\n" + cluster_text(Topology(scenario.cluster)) + "\n";
  const Labels labels(plan);
  text += labels.line("task", "what") + fmt::format(" {:>5} {:>10} {:>10} {:>10} {:>16}\n", "ranks", "bytes",
                                                    "transfers", "start", "alone, closed form");
  for (const NetworkTaskResult& task : plan) {
    text += labels.line(task.name, task.what) + fmt::format(" {:>5} {:>10} {:>10} {:>10} {:>18}\n", task.ranks,
                                                            size_text(task.bytes),
                                                            whole_number(static_cast<std::int64_t>(task.transfers)),
                                                            time_of(task.start - Instant()), time_of(task.closed_form));
  }
  for (const std::string& what : scenario.provenance.extrapolated) text += "extrapolated    " + what + "\n";
  for (const std::string& note : scenario.provenance.notes) text += "note            " + note + "\n";
  return text;
}

std::string network_plan_json(const NetworkScenario& scenario, const std::vector<NetworkTaskResult>& plan) {
  ordered_json json{{"scenario", scenario.name}, {"mode", "network"}};
  json["cluster"] = ordered_json::parse(cluster_json(Topology(scenario.cluster)));
  ordered_json tasks = ordered_json::array();
  for (const NetworkTaskResult& task : plan) {
    tasks.push_back({{"name", task.name},
                     {"what", task.what},
                     {"ranks", task.ranks},
                     {"bytes", task.bytes.value},
                     {"transfers", task.transfers},
                     {"start_ms", (task.start - Instant()).milliseconds()},
                     {"closed_form_ms", task.closed_form.milliseconds()}});
  }
  json["program"] = std::move(tasks);
  json["provenance"] = provenance_json(scenario.provenance);
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
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
