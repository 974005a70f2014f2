// moesim fit: measured communication -> a section of a collective profile, with errors on what the fit did not see.

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <set>

#include "calibration/version_eras.h"
#include "cli/calibration_options.h"
#include "cli/fit_kernels.h"
#include "cli/progress.h"
#include "cli/rescale_kernels.h"
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
constexpr auto rows = with_table_options(std::array<OptionRow, 11>{
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
     {.name = "as",
      .value = "PROVIDER",
      .meaning = "carry this provider's profile to the GPU of the rows, which are of other kernels",
      .choices = "trtllm vllm sglang"},
     {.name = "reference",
      .value = "FILE",
      .meaning = "with --as: the same kernels on a GPU whose profile of the provider was measured",
      .completion = Completion::file,
      .repeated = true},
     {.name = "source", .value = "TEXT", .meaning = "where the rows are from, for the profile (kernels)"},
     {.name = "licence", .value = "TEXT", .meaning = "of the rows, for the profile (kernels)"},
     {.name = "profiles",
      .value = "FOLDER",
      .meaning = "refit every kernel profile in it that holds these kernels; prints as --cross-validate",
      .completion = Completion::folder},
     {.name = "cross-validate", .meaning = "print errors on what fits did not see, by GPU and family, as Markdown"},
     {.name = "plots",
      .value = "FOLDER",
      .meaning = "with --cross-validate or --profiles of kernels: predicted against measured as OP.svg in it",
      .completion = Completion::folder},
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

/// Samples that are fitted together.
struct SampleGroup {
  std::string label;    ///< beside the GPU: version or NIC
  std::string through;  ///< of older kernels: the last version that had them
  std::vector<const CommSample*> samples;
};

/// The samples of a section on one GPU: by era of the library for engines' all-reduce kernels, by NIC for puts.
std::vector<SampleGroup> groups_for(const Fitting& fitting, const FitSection& section, const std::string& gpu) {
  const std::vector<const CommSample*> samples = samples_for(fitting, section, gpu);
  if (samples.empty()) return {};
  std::vector<SampleGroup> groups;
  if (section.op == CommOp::custom_allreduce) {
    std::vector<VersionEra> eras = version_eras(fitting.samples.systems, samples);
    for (std::size_t i = 0; i < eras.size(); ++i) {
      const bool newest = i + 1 == eras.size();
      groups.push_back({eras.size() > 1 ? (newest ? "newer" : "to " + eras[i].through) : "",
                        newest ? "" : eras[i].through, std::move(eras[i].samples)});
    }
    return groups;
  }
  if (section.op != CommOp::p2p) return {{"", "", samples}};
  std::map<std::string, std::vector<const CommSample*>> by_nic;
  for (const CommSample* sample : samples) {
    by_nic[fitting.samples.systems[sample->system].profile.nic].push_back(sample);
  }
  for (auto& [nic, own] : by_nic) groups.push_back({nic.empty() ? "other NICs" : nic, "", std::move(own)});
  return groups;
}

/// The profiles given, those of the systems of `family` replaced by one of the measured family whose links are nearest
/// in rate, so that what a fit starts from knows nothing of the system left out. Empty where there is no other.
std::vector<CollectiveProfile> profiles_of_another_family(const Fitting& fitting, const FitSection& section,
                                                          const std::string& family) {
  const auto rate = [&](const CommSample& sample) {
    return fitting.samples.systems[sample.system].topology->cluster().scale_up_link.bandwidth.value;
  };
  const auto kind = [&](const CommSample& sample) {
    return fitting.samples.systems[sample.system].topology->cluster().scale_up;
  };
  const auto samples = samples_for(fitting, section, "");
  const auto own = std::find_if(samples.begin(), samples.end(),
                                [&](const CommSample* sample) { return family_of(fitting.gpu(*sample)) == family; });
  const CommSample* nearest = nullptr;
  const auto distance = [&](const CommSample& sample) { return std::abs(std::log(rate(sample) / rate(**own))); };
  for (const CommSample* sample : samples) {
    if (family_of(fitting.gpu(*sample)) == family || kind(*sample) != kind(**own)) continue;
    if (nearest == nullptr || distance(*sample) < distance(*nearest)) nearest = sample;
  }
  if (nearest == nullptr) return {};
  std::vector<CollectiveProfile> profiles = fitting.profiles;
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    if (family_of(fitting.samples.systems[i].gpu) == family) profiles[i] = fitting.profiles[nearest->system];
  }
  return profiles;
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
      for (const SampleGroup& group : groups_for(fitting, *section, gpu)) {
        if (interrupted()) return fail(exit_interrupted, "interrupted");
        std::string subject = joint ? (group.label.empty() ? "all systems" : group.label) : gpu;
        if (!joint && !group.label.empty()) subject += ", " + group.label;
        Progress progress(fmt::format("{} {}", section->name, subject), fitting.style);
        std::vector<CollectiveProfile> profiles = fitting.profiles;
        std::vector<HoldOut> wanted = hold_outs(op);
        if (section->between_domains) wanted.push_back(HoldOut::systems);
        SectionFit fit = fit_and_validate(predictor, fitting.samples.systems, *section, group.samples, profiles, wanted,
                                          shown(progress));
        validations.push_back({subject, section, std::move(fit.held_out), fit.corrections == Corrections::fitted});
      }
    }
    if (op == CommOp::p2p) {
      // Another NIC is another family: what a system says of one with other NICs.
      validations.push_back({"all systems",
                             section,
                             {cross_validate(predictor, fitting.samples.systems, *section,
                                             samples_for(fitting, *section, ""), fitting.profiles, HoldOut::systems)},
                             false});
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
      const std::vector<CollectiveProfile> others = profiles_of_another_family(fitting, *section, family);
      validations.push_back({family,
                             section,
                             {cross_validate(predictor, fitting.samples.systems, *section, samples,
                                             others.empty() ? fitting.profiles : others, HoldOut::systems,
                                             shown(progress), others.empty() ? Given::ignored : Given::prior)},
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
  fmt::print("{}{}: {} rows, {} points{}\n", fit.section->name, fit.through.empty() ? "" : " to " + fit.through,
             fit.samples.size(), fit.points,
             fit.corrections == Corrections::fitted ? ", law with corrections" : ", law");
  fmt::print("  {:<34} {:>6} {:>9} {:>9} {:>9}\n", "", "scored", "median %", "p90 %", "bias");
  line("before", fit.before);
  line("after, on the same rows", fit.after);
  for (const HeldOutErrors& errors : fit.held_out) {
    line(fmt::format("{} left out", name(errors.hold_out)),
         fit.corrections == Corrections::fitted ? errors.corrected : errors.law);
  }
}

/// Puts the kernels that the profiles hold for a version in the place of the newest, where a fit takes them from.
void start_from_older(const FitSection& section, const std::string& version, std::vector<CollectiveProfile>& profiles) {
  for (CollectiveProfile& profile : profiles) {
    if (const OlderAllReduce* const older = older_all_reduce(profile, section.curves.front(), version)) {
      const CustomAllReduce kernels = older->kernels;
      all_reduce_kernels(profile, section.curves.front()) = kernels;
    }
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
  const Given given = arguments.has("base") ? Given::kept : Given::prior;
  for (const FitSection* section : fitting.sections) {
    for (const SampleGroup& group : groups_for(fitting, *section, "")) {
      if (interrupted()) return fail(exit_interrupted, "interrupted; nothing was written");
      Progress progress(std::string(section->name), fitting.style);
      std::vector<CollectiveProfile> profiles = fitting.profiles;
      if (!group.through.empty()) start_from_older(*section, group.through, profiles);
      SectionFit fit = fit_and_validate(predictor, fitting.samples.systems, *section, group.samples, profiles,
                                        hold_outs(op), shown(progress), given);
      if (fit.points < fit.constants) {
        fitting.samples.skipped[fmt::format("{}: {} points cannot tell its {} constants", section->name, fit.points,
                                            fit.constants)] += static_cast<std::int64_t>(fit.samples.size());
        continue;
      }
      fits.push_back(std::move(fit));
      fits.back().through = group.through;
      // Sections that follow see what was fitted: the network the rings inside the domains.
      if (group.through.empty() && op != CommOp::p2p) fitting.profiles = profiles;
    }
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
    file.base = text_of(base);
  }
  const std::string problem =
      write_file_atomically(arguments.value("output"), collective_profile_json(fits, system, file));
  if (!problem.empty()) return fail(exit_missing, problem);
  fmt::print("{}: written{}\n", arguments.value("output"),
             arguments.has("base") ? "" : fmt::format("; what it lacks comes from {}", file.rest));
  return exit_ok;
}

int run(const Arguments& arguments) {
  if (arguments.has("plots") && !arguments.has("cross-validate") && !arguments.has("profiles")) {
    return fail(exit_usage, "fit: --plots needs --cross-validate or --profiles");
  }
  for (const char* const option : {"cross-validate", "profiles"}) {
    if (arguments.has("output") && arguments.has(option)) {
      return fail(exit_usage, fmt::format("fit: --{} writes no profile to -o", option));
    }
  }
  if (const std::string problem = output_problem(arguments, "output"); !problem.empty())
    return fail(exit_missing, problem);
  if (const auto options = kernel_table_options(arguments)) {
    if (arguments.has("as") || arguments.has("reference")) return rescale_kernels(*options, arguments, today());
    return fit_kernels(*options, arguments, command_line("fit", arguments, rows), today());
  }
  for (const char* const option : {"as", "reference", "plots"}) {
    if (arguments.has(option)) {
      return fail(exit_usage, fmt::format("fit: --{} is for kernels, and --op is {}", option, arguments.value("op")));
    }
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
                                  .summary = "Fits a profile to measured kernels or communication; prints its errors.",
                                  .example = "moesim fit nccl_sweep.csv --op nccl --cluster node.json -o my.json",
                                  .positionals = positionals,
                                  .options = rows,
                                  .run = run};
  return command;
}

}  // namespace moesim
