// moesim fit: measured communication -> a section of a collective profile, with errors on what the fit did not see.

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "cli/calibration_options.h"
#include "cli/fit_kernels.h"
#include "cli/progress.h"
#include "config/json_reader.h"
#include "config/read_collective_profile.h"
#include "config/read_comm_sources.h"
#include "report/collective_profile_json.h"
#include "report/comm_prediction_text.h"
#include "report/cross_validation_text.h"
#include "report/output_file.h"

namespace moesim {

namespace {

constexpr PositionalRow positionals[] = {{.name = "MEASURED.csv", .most = 64}};
constexpr auto rows = with_table_options(std::array<OptionRow, 8>{
    {{.name = "section",
      .value = "NAME",
      .meaning = "only this section of the profile: ring, all_to_all, network, gemm/fp8, ...",
      .repeated = true},
     {.name = "base",
      .value = "FILE",
      .meaning = "a profile whose other sections the new one keeps",
      .completion = Completion::file},
     {.name = "output",
      .letter = 'o',
      .value = "PROFILE.json",
      .meaning = "the profile to write",
      .completion = Completion::file},
     {.name = "source", .value = "TEXT", .meaning = "where the rows are from, for the profile (kernels)"},
     {.name = "licence", .value = "TEXT", .meaning = "of the rows, for the profile (kernels)"},
     {.name = "profiles",
      .value = "FOLDER",
      .meaning = "refit every kernel profile in it that holds these kernels; prints as --cross-validate",
      .completion = Completion::folder},
     {.name = "cross-validate", .meaning = "print errors on what fits did not see, by GPU and family, as Markdown"},
     {.name = "quiet", .letter = 'q', .meaning = "no progress on stderr"}}});

std::string today() {
  // Reproducible builds set the first [reproducible-builds.org].
  const char* const fixed = std::getenv("SOURCE_DATE_EPOCH");
  const std::time_t now =
      fixed != nullptr ? static_cast<std::time_t>(std::strtoll(fixed, nullptr, 10)) : std::time(nullptr);
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(now));
}

/// "blackwell_ultra" and "blackwell" are one family.
std::string family_of(const GpuSpec& gpu) {
  return gpu.architecture.substr(0, gpu.architecture.find('_'));
}

struct Fitting {
  CommSamples samples;
  std::vector<CollectiveProfile> profiles;  ///< in the order of the systems
  std::vector<const FitSection*> sections;
  std::string network;  ///< whose rows a fit between nodes takes: a transport, or empty: InfiniBand and RoCE
  Progress::Style style = Progress::Style::none;

  std::vector<const CommSample*> where(const std::function<bool(const CommSample&)>& wanted) const {
    std::vector<const CommSample*> found;
    for (const CommSample& sample : samples.samples) {
      if (wanted(sample)) found.push_back(&sample);
    }
    return found;
  }
  const GpuSpec& gpu(const CommSample& sample) const { return samples.systems[sample.system].gpu; }
};

/// What carries messages between nodes: a cloud's own transport, or nothing for InfiniBand and RoCE.
const std::string& network_of(const Fitting& fitting, const CommSample& sample) {
  return fitting.samples.systems[sample.system].profile.transport;
}

/// Hops of a cloud's network are its own: a fit takes one kind of network, InfiniBand and RoCE before others. False
/// where there are several others.
bool choose_network(Fitting& fitting, std::string& list) {
  std::map<std::string, std::int64_t> counts;
  for (const CommSample& sample : fitting.samples.samples) {
    const bool between = std::any_of(fitting.sections.begin(), fitting.sections.end(), [&](const FitSection* section) {
      return section->between_domains && section->takes(sample);
    });
    if (between) ++counts[network_of(fitting, sample)];
  }
  if (counts.empty()) return true;
  fitting.network = counts.begin()->first;
  for (const auto& [network, count] : counts) {
    if (network == fitting.network) continue;
    list += (list.empty() ? fitting.network + ", " : ", ") + network;
    fitting.samples.skipped["a network of its own, " + network] += count;
  }
  return fitting.network.empty() || counts.size() == 1;
}

std::vector<const CommSample*> samples_for(const Fitting& fitting, const FitSection& section, const std::string& gpu) {
  return fitting.where([&](const CommSample& sample) {
    if (!section.takes(sample)) return false;
    if (section.between_domains) return network_of(fitting, sample) == fitting.network;
    return gpu.empty() || fitting.gpu(sample).id == gpu;
  });
}

std::vector<HoldOut> hold_outs(CommOp op) {
  if (op == CommOp::nccl || op == CommOp::custom_allreduce || op == CommOp::p2p)
    return {HoldOut::points, HoldOut::ranks};
  return {HoldOut::points, HoldOut::series, HoldOut::ranks};
}

FitProgress shown(Progress& progress) {
  return [&progress](std::int64_t done, std::int64_t total) { progress.update(done, total); };
}

int cross_validate_all(Fitting& fitting, CommOp op, const std::string& command) {
  CommPredictor predictor(fitting.samples.systems);
  std::vector<CrossValidation> validations;
  for (const FitSection* section : fitting.sections) {
    std::set<std::string> gpus, families;
    for (const CommSample* sample : samples_for(fitting, *section, "")) {
      gpus.insert(fitting.gpu(*sample).id);
      families.insert(family_of(fitting.gpu(*sample)));
    }
    if (gpus.empty()) continue;
    const bool joint = section->between_domains || op == CommOp::p2p;
    if (joint) gpus = {""};
    for (const std::string& gpu : gpus) {
      if (interrupted()) return fail(exit_interrupted, "interrupted");
      Progress progress(fmt::format("{} {}", section->name, gpu), fitting.style);
      const auto samples = samples_for(fitting, *section, gpu);
      std::vector<CollectiveProfile> profiles = fitting.profiles;
      std::vector<HoldOut> wanted = hold_outs(op);
      if (joint) wanted.push_back(HoldOut::systems);
      SectionFit fit =
          fit_and_validate(predictor, fitting.samples.systems, *section, samples, profiles, wanted, shown(progress));
      validations.push_back(
          {joint ? "all systems" : gpu, section, std::move(fit.held_out), fit.corrections == Corrections::fitted});
    }
    if (joint) continue;
    for (const std::string& family : families) {
      const auto samples = fitting.where(
          [&](const CommSample& sample) { return section->takes(sample) && family_of(fitting.gpu(sample)) == family; });
      std::set<std::string> systems;
      for (const CommSample* sample : samples) systems.insert(fitting.samples.systems[sample->system].name);
      if (systems.size() < 2) continue;
      Progress progress(fmt::format("{} family {}", section->name, family), fitting.style);
      // Corrections as in the profiles of the family's GPUs.
      const bool corrected = std::any_of(validations.begin(), validations.end(),
                                         [&](const CrossValidation& v) { return v.section == section && v.corrected; });
      validations.push_back({family,
                             section,
                             {cross_validate(predictor, fitting.samples.systems, *section, samples, fitting.profiles,
                                             HoldOut::systems, shown(progress))},
                             corrected});
    }
  }
  fmt::print("{}", cross_validation_markdown(op, fitting.samples, validations, command));
  return exit_ok;
}

void print_fit(const SectionFit& fit) {
  const auto line = [](std::string_view what, std::span<const ScoredSample> scored) {
    const ErrorSummary errors = errors_of(scored);
    if (errors.scored == 0) return;
    fmt::print("  {:<34} {:>6} {:>9.1f} {:>9.1f} {:>+9.3f}\n", what, errors.scored, 100 * errors.median_ape,
               100 * errors.p90_ape, errors.bias);
  };
  fmt::print("{}: {} rows, {} points{}\n", fit.section->name, fit.samples.size(), fit.points,
             fit.corrections == Corrections::fitted ? ", law with corrections" : ", law");
  fmt::print("  {:<34} {:>6} {:>9} {:>9} {:>9}\n", "", "scored", "median %", "p90 %", "bias");
  line("before", fit.before);
  line("after, on the same rows", fit.after);
  for (const HeldOutErrors& errors : fit.held_out) {
    line(fmt::format("{} left out", name(errors.hold_out)),
         fit.corrections == Corrections::fitted ? errors.corrected : errors.law);
  }
}

int fit_profile(Fitting& fitting, CommOp op, const Arguments& arguments, const std::string& command) {
  if (!arguments.has("output")) return fail(exit_usage, "fit: -o PROFILE.json is missing (or --cross-validate)");
  std::set<std::string> gpus;
  for (const FitSection* section : fitting.sections) {
    if (section->between_domains || op == CommOp::p2p) continue;
    for (const CommSample* sample : samples_for(fitting, *section, "")) gpus.insert(fitting.gpu(*sample).id);
  }
  if (gpus.size() > 1) {
    std::string list;
    for (const std::string& gpu : gpus) list += (list.empty() ? "" : ", ") + gpu;
    return fail(exit_usage, fmt::format("fit: the rows are of several GPUs ({}); choose one with --gpu", list));
  }
  CommPredictor predictor(fitting.samples.systems);
  std::vector<SectionFit> fits;
  for (const FitSection* section : fitting.sections) {
    const auto samples = samples_for(fitting, *section, "");
    if (samples.empty()) continue;
    if (interrupted()) return fail(exit_interrupted, "interrupted; nothing was written");
    Progress progress(std::string(section->name), fitting.style);
    SectionFit fit =
        fit_and_validate(predictor, fitting.samples.systems, *section, samples, fitting.profiles, hold_outs(op),
                         shown(progress), arguments.has("base") ? Prior::none : Prior::given);
    if (fit.points < fit.constants) {
      fitting.samples.skipped[fmt::format("{}: {} points cannot tell its {} constants", section->name, fit.points,
                                          fit.constants)] += static_cast<std::int64_t>(fit.samples.size());
      continue;
    }
    fits.push_back(std::move(fit));
  }
  if (fits.empty()) {
    std::string reasons;
    for (const auto& [reason, count] : fitting.samples.skipped) reasons += fmt::format("; {} x {}", count, reason);
    return fail(exit_bad_data, fmt::format("fit: no row can be fitted{}", reasons));
  }
  for (const SectionFit& fit : fits) {
    print_fit(fit);
    if (const std::string note = few_points_note(fit); !note.empty()) fmt::print(stderr, "moesim: note: {}\n", note);
  }
  for (const auto& [reason, count] : fitting.samples.skipped) fmt::print("{} rows not used: {}\n", count, reason);

  ProfileFile file;
  file.command = command;
  file.date = today();
  std::set<std::string> ids;
  for (const SectionFit& fit : fits) {
    for (const CommSample* sample : fit.samples) ids.insert(sample->source);
  }
  for (const std::string& table : fitting.samples.tables) {
    file.source += (file.source.empty() ? "" : ", ") + std::filesystem::path(table).filename().string();
  }
  const CommSources sources = read_comm_sources(fitting.samples.tables, ids);
  file.source += sources.where.empty() ? "" : ": " + sources.where;
  file.licence = sources.licence;
  const CommSample& first = *fits.front().samples.front();
  const CommSystem& system = fitting.samples.systems[first.system];
  file.rest = system.profile.name;
  file.network = fitting.network;
  if (arguments.has("base")) {
    const std::filesystem::path base = resolve_path(arguments.value("base"), {});
    read_collective_profile(base, system.topology->cluster());  // refuses what is broken
    std::ifstream in(base);
    std::ostringstream text;
    text << in.rdbuf();
    file.base = text.str();
  }
  const std::string problem = write_file_atomically(
      arguments.value("output"), collective_profile_json(fitting.profiles[first.system], fits, system, file));
  if (!problem.empty()) return fail(exit_missing, problem);
  fmt::print("{}: written{}\n", arguments.value("output"),
             arguments.has("base") ? "" : fmt::format("; what it lacks comes from {}", file.rest));
  return exit_ok;
}

int run(const Arguments& arguments) {
  if (const auto op = kernel_op(arguments.value("op"))) {
    return fit_kernels(*op, arguments, command_line("fit", arguments, rows), today());
  }
  const auto options = comm_table_options(arguments);
  if (const auto* refusal = std::get_if<Refusal>(&options)) return fail(refusal->code, refusal->message);
  const CommOp op = std::get<CommTableOptions>(options).op;
  Fitting fitting;
  std::vector<std::string> wanted = arguments.values("section");
  for (const FitSection& section : fit_sections()) {
    if (section.op != op) continue;
    const auto place = std::find(wanted.begin(), wanted.end(), section.name);
    if (!arguments.has("section") || place != wanted.end()) fitting.sections.push_back(&section);
    if (place != wanted.end()) wanted.erase(place);
  }
  if (!wanted.empty()) {
    std::string list;
    for (const FitSection& section : fit_sections()) {
      if (section.op == op) list += (list.empty() ? "" : ", ") + std::string(section.name);
    }
    return fail(exit_usage, fmt::format("--section {}: --op {} has {}", wanted.front(), name(op), list));
  }
  if (!arguments.has("quiet")) fitting.style = Progress::style_of_stderr();
  fitting.samples = read_comm_tables(arguments.positionals, std::get<CommTableOptions>(options));
  for (const CommSystem& system : fitting.samples.systems) fitting.profiles.push_back(system.profile);
  if (std::string list; !choose_network(fitting, list)) {
    return fail(exit_usage, fmt::format("fit: the rows between nodes are of several networks ({}); fit one of them, "
                                        "with --gpu or a table of its own",
                                        list));
  }
  watch_interrupts();
  const std::string command = command_line("fit", arguments, rows);
  if (arguments.has("cross-validate")) return cross_validate_all(fitting, op, command);
  return fit_profile(fitting, op, arguments, command);
}

}  // namespace

const Command& fit_command() {
  static const Command command = {.name = "fit",
                                  .summary = "Fits a profile to measured communication; prints its errors.",
                                  .example = "moesim fit nccl_sweep.csv --op nccl --cluster node.json -o my.json",
                                  .positionals = positionals,
                                  .options = rows,
                                  .run = run};
  return command;
}

}  // namespace moesim
