#include "config/network_scenario.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "collectives/layer_collectives.h"
#include "collectives/link_loads.h"
#include "config/exchange_names.h"
#include "config/json_reader.h"
#include "config/scenario_fields.h"
#include "config/scenario_inputs.h"
#include "network/topology.h"
#include "parallel/placement.h"
#include "serving/engine_spec.h"

namespace moesim {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::array<std::string_view, 8> known_keys = {"$schema", "name", "mode",        "cluster",
                                                        "nodes",   "seed", "calibration", "program"};
constexpr std::array<std::string_view, 6> collective_names = {"all_reduce", "all_gather", "reduce_scatter",
                                                              "all_to_all", "send_recv",  "broadcast"};
constexpr std::array<std::string_view, kProtocols> protocol_names = {"low_latency", "ll128", "bulk"};

ordered_json document_of(const fs::path& path, std::span<const Override> overrides) {
  ordered_json document = parse_json_file(path);
  if (!document.is_object()) JsonReader(document, input_name(path)).fail("expected an object of a scenario's fields");
  for (const Override& override : overrides) set_scenario_field(document, override.pointer, override.value);
  return document;
}

/// "all", "0-7", "0-63:8", "0,8,16-23", or a list of numbers.
GpuGroup read_ranks(const JsonReader& value, std::uint32_t gpus) {
  GpuGroup group;
  const auto add = [&](std::int64_t gpu) {
    if (gpu < 0 || gpu >= gpus) value.fail(fmt::format("expected GPUs from 0 to {}, got {}", gpus - 1, gpu));
    const GpuId id{static_cast<std::uint32_t>(gpu)};
    if (std::find(group.begin(), group.end(), id) != group.end()) value.fail(fmt::format("GPU {} stands twice", gpu));
    group.push_back(id);
  };
  if (value.json().is_array()) {
    for (const JsonReader& element : value.elements()) add(element.integer());
  } else {
    const std::string text = value.string();
    const std::string expected = "expected GPUs such as \"all\", \"0-7\", \"0-63:8\" (every eighth) or [0, 8]";
    if (text == "all") {
      for (std::uint32_t gpu = 0; gpu < gpus; ++gpu) group.push_back(GpuId{gpu});
      return group;
    }
    const char* at = text.data();
    const char* const end = at + text.size();
    const auto number = [&] {
      std::int64_t parsed = 0;
      const auto [stop, error] = std::from_chars(at, end, parsed);
      if (error != std::errc()) value.fail(fmt::format("{}, got {}", expected, echo(text)));
      at = stop;
      return parsed;
    };
    const auto takes = [&](char c) {
      if (at == end || *at != c) return false;
      ++at;
      return true;
    };
    do {
      const std::int64_t first = number();
      const std::int64_t last = takes('-') ? number() : first;
      const std::int64_t step = takes(':') ? number() : 1;
      if (step < 1 || last < first) value.fail(fmt::format("{}, got {}", expected, echo(text)));
      for (std::int64_t gpu = first; gpu <= last; gpu += step) add(gpu);
    } while (takes(','));
    if (at != end) value.fail(fmt::format("{}, got {}", expected, echo(text)));
  }
  if (group.empty()) value.fail("expected at least one GPU");
  return group;
}

GpuId read_gpu_number(const JsonReader& value, std::uint32_t gpus) {
  return GpuId{static_cast<std::uint32_t>(value.integer_in(0, std::int64_t{gpus} - 1))};
}

CollectiveTask read_collective(const JsonReader& entry, const Topology& topology, const CollectiveProfile& profile) {
  constexpr std::array<std::string_view, 8> keys = {"name",     "start", "collective", "algorithm",
                                                    "protocol", "ranks", "bytes",      "forwarding"};
  entry.expect_only(keys);
  CollectiveTask task;
  task.kind = static_cast<Collective>(entry.at("collective").choice(collective_names));
  task.ranks = read_ranks(entry.at("ranks"), topology.gpu_count());
  task.bytes = entry.at("bytes").bytes();
  const auto algorithm = entry.find("algorithm");
  if (algorithm && algorithm->string() != "auto") {
    std::array<std::string_view, kAlgorithms + 1> names{"auto"};
    for (std::size_t i = 0; i < kAlgorithms; ++i) names[i + 1] = name(static_cast<Algorithm>(i));
    task.algorithm = static_cast<Algorithm>(algorithm->choice(names) - 1);
    const std::string problem = algorithm_problem(topology, profile, task.ranks, task.kind, *task.algorithm);
    if (!problem.empty()) algorithm->fail(problem, InputProblem::cannot_go_together);
  }
  if (const auto protocol = entry.find("protocol")) {
    task.protocol = static_cast<Protocol>(protocol->choice(protocol_names));
    if (!task.algorithm) protocol->fail("needs an algorithm; with auto the library chooses both");
    const std::string problem = protocol_problem(profile, task.kind, task.protocol);
    if (!problem.empty()) protocol->fail(problem, InputProblem::cannot_go_together);
  }
  if (const auto forwarding = entry.find("forwarding")) {
    constexpr std::array<std::string_view, 2> names = {"rails", "none"};
    task.forwarding = static_cast<Forwarding>(forwarding->choice(names));
    if (!task.algorithm) forwarding->fail("needs an algorithm; with auto the library forwards on rails");
  }
  if (task.kind == Collective::send_recv && task.ranks.size() != 2) entry.at("ranks").fail("expected two GPUs");
  return task;
}

CacheTask read_cache(const JsonReader& entry, const Topology& topology) {
  constexpr std::array<std::string_view, 8> keys = {"name", "start",       "transfer", "from",
                                                    "to",   "layer_bytes", "layers",   "compute"};
  entry.expect_only(keys);
  constexpr std::array<std::string_view, 2> modes = {"whole", "by_layers"};
  CacheTask task;
  task.mode = static_cast<CacheTransferMode>(entry.at("transfer").choice(modes));
  task.cache.from = read_gpu_number(entry.at("from"), topology.gpu_count());
  task.cache.to = read_gpu_number(entry.at("to"), topology.gpu_count());
  if (task.cache.from == task.cache.to) entry.at("to").fail("expected another GPU than /from");
  task.cache.layer_bytes = entry.at("layer_bytes").bytes();
  if (const auto layers = entry.find("layers")) {
    task.cache.layers = static_cast<std::int32_t>(layers->integer_in(1, 10000));
  }
  if (const auto compute = entry.find("compute")) task.cache.compute = compute->duration();
  return task;
}

/// Popularity by kind and one number; a file of popularities belongs to a model.
PopularitySpec read_popularity_law(const JsonReader& entry) {
  PopularitySpec spec;
  spec.kind = PopularityKind::uniform;
  const auto law = entry.find("popularity");
  if (!law) return spec;
  constexpr std::array<std::string_view, 4> keys = {"kind", "exponent", "sigma", "concentration"};
  constexpr std::array<std::string_view, 4> kinds = {"uniform", "zipf", "lognormal", "dirichlet"};
  law->expect_only(keys);
  spec.kind = static_cast<PopularityKind>(law->at("kind").choice(kinds));
  if (const auto value = law->find("exponent")) spec.exponent = value->number_in(0, 10);
  if (const auto value = law->find("sigma")) spec.sigma = value->number_in(0, 10);
  if (const auto value = law->find("concentration")) spec.concentration = value->number_in(1e-3, 1e6);
  return spec;
}

/// "nccl", or an engine's name of one kind of kernels (`exchange_names`); nothing: NCCL.
std::optional<MoeBackend> read_backend(const JsonReader& value) {
  const std::string word = value.string();
  if (word == "nccl") return std::nullopt;
  const ExchangeName* known = find_exchange_name(word);
  if (known == nullptr) {
    std::vector<std::string> words{"nccl"};
    for (const ExchangeName& row : exchange_names()) {
      if (row.choice) words.emplace_back(row.name);
    }
    const auto near = nearest(word, words);
    value.fail(fmt::format("expected one of {}, got {}{}", fmt::join(words, ", "), echo(word),
                           near ? "; did you mean " + *near + "?" : ""));
  }
  if (!known->choice) value.fail(fmt::format("{} is not built yet", word), InputProblem::usage);
  if (known->choice->prefill != known->choice->decode) {
    value.fail(fmt::format("{} stands for {} and {}; name one of them", word, name(known->choice->prefill),
                           name(known->choice->decode)));
  }
  return known->choice->prefill;
}

ExchangeTask read_exchange(const JsonReader& entry, const Topology& topology) {
  constexpr std::array<std::string_view, 15> keys = {"name",
                                                     "start",
                                                     "exchange",
                                                     "max_dispatch_tokens_per_rank",
                                                     "direction",
                                                     "ranks",
                                                     "tokens",
                                                     "hidden",
                                                     "experts",
                                                     "top_k",
                                                     "groups",
                                                     "top_groups",
                                                     "popularity",
                                                     "redundant_experts",
                                                     "bytes_per_element"};
  entry.expect_only(keys);
  ExchangeTask task;
  const JsonReader backend = entry.at("exchange");
  task.backend = read_backend(backend);
  if (const auto limit = entry.find("max_dispatch_tokens_per_rank"))
    task.round_tokens = limit->integer_in(0, 1'000'000);
  if (!task.backend || !goes_in_rounds(*task.backend)) {
    if (task.round_tokens > 0) {
      entry.at("max_dispatch_tokens_per_rank").fail(fmt::format("{} does not go in rounds", backend.string()));
    }
  } else if (!entry.has("max_dispatch_tokens_per_rank")) {
    task.round_tokens = default_max_dispatch_tokens(EnginePreset::vllm);
  }
  if (const auto direction = entry.find("direction")) {
    constexpr std::array<std::string_view, 2> directions = {"dispatch", "combine"};
    task.combine = direction->choice(directions) == 1;
  }
  task.ranks = read_ranks(entry.at("ranks"), topology.gpu_count());
  task.tokens = entry.at("tokens").integer_in(1, 1'000'000);
  task.moe.experts = entry.at("experts").integer_in(1, 65536);
  task.moe.top_k = entry.at("top_k").integer_in(1, std::min<std::int64_t>(64, task.moe.experts));
  if (const auto groups = entry.find("groups")) {
    task.moe.groups = groups->integer_in(1, task.moe.experts);
    if (task.moe.experts % task.moe.groups != 0) groups->fail("expected a divisor of experts");
    task.moe.top_groups = entry.at("top_groups").integer_in(1, task.moe.groups);
    task.moe.group_score_experts = 2;
    task.moe.sigmoid_scores = true;
    if (task.moe.experts / task.moe.groups * task.moe.top_groups < task.moe.top_k) {
      entry.at("top_groups").fail(fmt::format("the groups hold fewer than {} experts", task.moe.top_k));
    }
  }
  const auto ranks = static_cast<std::int32_t>(task.ranks.size());
  if (const auto redundant = entry.find("redundant_experts")) {
    task.redundant_experts = static_cast<std::int32_t>(redundant->integer_in(0, 65536));
  }
  if (task.moe.experts < ranks) entry.at("experts").fail(fmt::format("expected at least one a rank ({})", ranks));
  if (const std::string problem = slots_problem(task.moe.experts, ranks, task.redundant_experts); !problem.empty()) {
    entry.fail(problem, InputProblem::cannot_go_together);
  }
  const GroupNodes nodes = group_nodes(topology, task.ranks);
  const bool nvlink = task.backend == MoeBackend::flashinfer_nvlink_one_sided ||
                      task.backend == MoeBackend::flashinfer_nvlink_two_sided;
  if (nvlink && nodes.nodes() > 1) backend.fail("needs one scale-up domain", InputProblem::cannot_go_together);
  task.popularity = read_popularity_law(entry);
  const auto element = entry.find("bytes_per_element");
  task.payload = Bytes::ceil(static_cast<double>(entry.at("hidden").integer_in(1, 1'000'000)) *
                             (element ? element->number_in(0.1, 8) : 2));
  return task;
}

/// Messages of a task that sends from every rank to every other.
std::size_t messages_of(const NetworkTask& task) {
  std::size_t ranks = 0, rounds = 1;
  if (const auto* exchange = std::get_if<ExchangeTask>(&task.what)) {
    ranks = exchange->ranks.size();
    if (exchange->round_tokens > 0) {
      rounds = static_cast<std::size_t>((exchange->tokens + exchange->round_tokens - 1) / exchange->round_tokens);
    }
  }
  if (const auto* collective = std::get_if<CollectiveTask>(&task.what)) {
    const bool pairs = collective->kind == Collective::all_to_all || collective->algorithm == Algorithm::direct;
    if (pairs) ranks = collective->ranks.size();
  }
  return rounds * ranks * ranks;
}

/// What is estimated instead of followed has no rates that others could feel.
void refuse_too_many(const JsonReader& root, const NetworkScenario& scenario) {
  if (scenario.tasks.size() < 2) return;
  for (std::size_t i = 0; i < scenario.tasks.size(); ++i) {
    if (messages_of(scenario.tasks[i]) <= kExactTransfers) continue;
    root.at("program").elements()[i].fail(
        fmt::format(
            "{} messages are estimated, not followed one by one; such a task has to be the only one of its program",
            messages_of(scenario.tasks[i])),
        InputProblem::cannot_go_together);
  }
}

}  // namespace

bool is_network_scenario(const fs::path& path, std::span<const Override> overrides) {
  for (auto override = overrides.rbegin(); override != overrides.rend(); ++override) {
    if (override->pointer == "/mode") return override->value == "network" || override->value == "\"network\"";
  }
  const ordered_json document = parse_json_file(path);
  return document.is_object() && document.contains("mode") && document["mode"] == "network";
}

namespace {

NetworkScenario scenario_of(const ordered_json& document, const fs::path& path, std::span<const Override> overrides,
                            std::optional<std::uint64_t> seed) {
  const JsonReader root(document, input_name(path));
  check_scenario_fields(root);
  for (const std::string& key : root.keys()) {
    if (std::find(known_keys.begin(), known_keys.end(), key) == known_keys.end()) {
      root.at(key).fail("belongs to mode serving, not to mode network");
    }
  }
  NetworkScenario scenario;
  scenario.stem = fs::path(root.file()).stem().string();
  const auto given = root.find("name");
  scenario.name = given ? given->string() : scenario.stem;
  scenario.provenance.tool_version = MOESIM_VERSION;
  const auto seed_field = root.find("seed");
  scenario.seed = seed ? *seed : seed_field ? static_cast<std::uint64_t>(seed_field->integer()) : 1;
  scenario.provenance.seed = scenario.seed;
  ScenarioInputs inputs(root, path.parent_path(), scenario.provenance);
  inputs.add_hash(path);
  inputs.note_overrides(overrides);
  scenario.cluster = inputs.read_cluster();
  scenario.gpu = inputs.gpu_of(scenario.cluster);
  const ScenarioInputs::Calibration calibration = inputs.read_calibration();
  if (calibration.kernels != "auto") root.at("calibration").fail("mode network takes profiles of collectives only");
  scenario.collectives = inputs.read_collectives(scenario.gpu, scenario.cluster, calibration.collectives);
  inputs.add_profile(scenario.collectives, ScenarioInputs::Uses::network);
  const Topology topology(scenario.cluster);
  for (const JsonReader& entry : root.at("program").elements()) {
    NetworkTask task;
    const auto label = entry.find("name");
    if (const auto start = entry.find("start")) task.start = start->duration();
    if (entry.has("collective")) {
      CollectiveTask collective = read_collective(entry, topology, scenario.collectives);
      task.name = label ? label->string() : std::string(name(collective.kind));
      task.what = std::move(collective);
    } else if (entry.has("transfer")) {
      task.what = read_cache(entry, topology);
      task.name = label ? label->string() : "transfer";
    } else if (entry.has("exchange")) {
      task.what = read_exchange(entry, topology);
      task.name = label ? label->string() : entry.at("exchange").string();
    } else {
      entry.fail("expected \"collective\", \"exchange\" or \"transfer\"");
    }
    scenario.tasks.push_back(std::move(task));
  }
  refuse_too_many(root, scenario);
  if (scenario.tasks.empty()) root.at("program").fail("expected at least one collective or transfer");
  return scenario;
}

}  // namespace

NetworkScenario read_network_scenario(const fs::path& path, std::span<const Override> overrides,
                                      std::optional<std::uint64_t> seed) {
  return scenario_of(document_of(path, overrides), path, overrides, seed);
}

NetworkScenario read_network_scenario_with_program_of(const fs::path& path, const fs::path& program,
                                                      std::uint64_t seed) {
  ordered_json document = document_of(path, {});
  document["program"] = document_of(program, {}).at("program");
  return scenario_of(document, path, {}, seed);
}

}  // namespace moesim
