#include "report/network_comparison.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "report/network_text.h"
#include "report/number_text.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

constexpr double worth_saying = 0.05;

char letter(std::size_t i) {
  return static_cast<char>('A' + i);
}

double here(const NetworkTaskResult& task) {
  return (task.finish - task.start).seconds();
}

double length(const NetworkResult& result) {
  return (result.end - Instant()).seconds();
}

std::string change(double seconds, double reference) {
  return fmt::format("{} instead of {} ({:.2f} x)", time_text(seconds), time_text(reference),
                     reference > 0 ? seconds / reference : 1);
}

std::string busiest(const NetworkResult& result) {
  if (result.links.empty()) return "no link";
  const LinkUse& link = result.links.front();
  return fmt::format("{} -> {} ({}) {}", link.from, link.to, link.kind, percent(link.utilization));
}

struct Verdict {
  std::string summary;
  std::vector<std::string> reasons;
};

Verdict verdict(const NetworkResult& result, const NetworkResult& reference, char name) {
  Verdict verdict{fmt::format("{} against A: all done after {}", name, change(length(result), length(reference))), {}};
  for (std::size_t i = 0; i < result.tasks.size(); ++i) {
    const double now = here(result.tasks[i]), before = here(reference.tasks[i]);
    if (before <= 0 || std::abs(now / before - 1) < worth_saying) continue;
    verdict.reasons.push_back(fmt::format("{} takes {}; alone {}", result.tasks[i].name, change(now, before),
                                          change(result.tasks[i].alone.seconds(), reference.tasks[i].alone.seconds())));
  }
  verdict.reasons.push_back(fmt::format("busiest link: {} instead of {}", busiest(result), busiest(reference)));
  return verdict;
}

}  // namespace

std::string network_comparison_text(std::span<const NetworkResult> results) {
  std::string text;
  for (std::size_t i = 0; i < results.size(); ++i) {
    text += fmt::format("{}  {}: {}, {} GPUs\n", letter(i), results[i].name, results[i].cluster, results[i].gpus);
  }
  std::size_t label = 14;
  for (const NetworkTaskResult& task : results.front().tasks) label = std::max(label, task.name.size() + 7);
  const auto line = [&](const std::string& name, const auto& cell) {
    text += fmt::format("{:<{}}", name, label);
    for (std::size_t i = 0; i < results.size(); ++i) text += fmt::format("  {:>10}", cell(i));
    text += '\n';
  };
  text += '\n';
  line("", [](std::size_t i) { return std::string(1, letter(i)); });
  for (std::size_t t = 0; t < results.front().tasks.size(); ++t) {
    const std::string& name = results.front().tasks[t].name;
    line(name, [&](std::size_t i) { return time_text(here(results[i].tasks[t])); });
    line(name + ", alone", [&](std::size_t i) { return time_text(results[i].tasks[t].alone.seconds()); });
  }
  line("all done after", [&](std::size_t i) { return time_text(length(results[i])); });
  for (std::size_t i = 1; i < results.size(); ++i) {
    const Verdict one = verdict(results[i], results[0], letter(i));
    text += fmt::format("\n{}\n", one.summary);
    for (const std::string& reason : one.reasons) text += fmt::format("  - {}\n", reason);
  }
  return text;
}

std::string network_comparison_json(std::span<const NetworkResult> results) {
  ordered_json list = ordered_json::array(), said = ordered_json::array();
  for (std::size_t i = 0; i < results.size(); ++i) {
    list.push_back(ordered_json::parse(network_json(results[i])));
    if (i == 0) continue;
    const Verdict one = verdict(results[i], results[0], letter(i));
    said.push_back({{"verdict", one.summary}, {"reasons", one.reasons}});
  }
  const ordered_json json{{"results", std::move(list)}, {"verdicts", std::move(said)}};
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace moesim
