#include "cli/fit_kernels.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "calibration/kernel_fit.h"
#include "calibration/kernel_range.h"
#include "cli/calibration_options.h"
#include "cli/progress.h"
#include "config/json_reader.h"
#include "config/read_gpu.h"
#include "config/read_kernel_table.h"
#include "config/read_profile.h"
#include "report/kernel_profile_json.h"
#include "report/kernel_scatter.h"
#include "report/kernel_validation_text.h"
#include "report/output_file.h"
#include "report/plots.h"

namespace moesim {

namespace {

/// One profile's worth of samples: of one GPU and one provider, section by section.
struct Subject {
  std::size_t gpu = 0;
  std::string provider;
  std::map<std::string, SampleList> sections;
};

/// In the order of GPUs and providers of the tables; `wanted` sections only, all where empty.
std::vector<Subject> subjects_of(const KernelSamples& samples, const std::vector<std::string>& wanted) {
  std::vector<Subject> subjects;
  for (const KernelSample& sample : samples.samples) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), sample.section) == wanted.end()) continue;
    auto place = std::find_if(subjects.begin(), subjects.end(),
                              [&](const Subject& s) { return s.gpu == sample.gpu && s.provider == sample.provider; });
    if (place == subjects.end()) place = subjects.insert(subjects.end(), {sample.gpu, sample.provider, {}});
    place->sections[sample.section].push_back(&sample);
  }
  return subjects;
}

/// Sections asked for of which the tables hold no row.
void refuse_absent(const std::vector<std::string>& wanted, const KernelSamples& samples) {
  std::set<std::string> present;
  for (const KernelSample& sample : samples.samples) present.insert(sample.section);
  for (const std::string& section : wanted) {
    if (present.contains(section)) continue;
    throw ConfigError(InputProblem::usage,
                      fmt::format("--section {}: the tables hold {}", section,
                                  present.empty() ? "no rows of --op" : fmt::format("{}", fmt::join(present, ", "))));
  }
}

/// The shipped profile that would predict kernels of `provider` on `gpu`.
KernelProfileChoice shipped_profile(const std::string& gpu, const std::string& provider) {
  return select_kernel_profile("auto", gpu, std::string_view(provider));
}

FitProgress shown(Progress& progress) {
  return [&progress](std::int64_t done, std::int64_t total) { progress.update(done, total); };
}

void print_fit(const KernelFit& fit) {
  const auto line = [](std::string_view what, std::span<const ScoredKernel> scored) {
    if (scored.empty()) return;
    const ErrorSummary e = errors_of(scored);
    fmt::print("  {:<34} {:>6} {:>8.1f} {:>9.1f} {:>8.1f} {:>+8.3f}\n", what, e.scored, 100 * e.mape,
               100 * e.median_ape, 100 * e.p90_ape, e.bias);
  };
  fmt::print("{}: {} rows, {} shapes{}\n", fit.section->key, fit.samples.size(), fit.shapes,
             fit.residuals == Residuals::fitted ? ", form with residual" : ", form");
  fmt::print("  {:<34} {:>6} {:>8} {:>9} {:>8} {:>8}\n", "", "scored", "MAPE %", "median %", "p90 %", "bias");
  line("before", fit.before);
  line("after, on the same rows", fit.after);
  line("shapes left out, form", fit.law);
  line("shapes left out, with residual", fit.corrected);
  if (fit.law.empty()) {
    fmt::print("  {}, which the fit saw: how far off others are is not known\n",
               fit.shapes == 1 ? "all rows are of one shape" : "too few rows to leave a shape out");
  }
  constexpr double hopeless = 0.3;  // of rows that it was fitted to: the rows are of something else
  if (const double mape = errors_of(fit.after).mape; mape > hopeless) {
    fmt::print(stderr,
               "moesim: fit: {}: the fit is off by {:.0f} % in the mean on its own rows: are they times of this "
               "kernel on this GPU, in microseconds?\n",
               fit.section->key, 100 * mape);
  }
}

/// What sections say of the rows and the fit.
struct Texts {
  std::string source, licence, date;
};

/// What the fitted section says of itself.
void describe(const KernelFit& fit, KernelProfile& profile, const GpuSpec& gpu, const Texts& texts) {
  SectionOrigin& origin = fit.section->origin(profile);
  const KernelSample& first = *fit.samples.front();
  std::set<std::string> versions;
  bool quantizes = false;
  for (const KernelSample* sample : fit.samples) {
    if (!sample->version.empty()) versions.insert(sample->version);
    if (const auto* product = std::get_if<TimedGemm>(&sample->timed)) quantizes = quantizes || product->quantizes;
  }
  std::string kernels = first.provider;
  for (const std::string& version : versions) kernels += (version == *versions.begin() ? " " : ", ") + version;
  origin.source = fmt::format(
      "fitted: {}, {} {} of {}, {} rows{}", texts.source, name(fit.section->op), gpu.id, kernels, fit.samples.size(),
      quantizes ? "; these contain dynamic quantisation, which the quantize sections take" : "");
  const bool own = first.provider == profile.provider || is_kernel_library(first.provider);
  if (own && gpu.id == profile.gpu) {
    origin.derived_from.clear();
  } else if (origin.derived_from.empty()) {
    origin.derived_from = fmt::format("no table of {} on {}: {}'s on {} stands in", profile.provider, profile.gpu,
                                      first.provider, gpu.id);
  }
  origin.provider = first.provider;
  origin.licence = texts.licence;
  origin.gpu = gpu.id;
  origin.fit_range = fit_range(fit.samples);
  origin.date = texts.date;
}

struct Fitting {
  KernelOp op = KernelOp::gemm;
  KernelSamples samples;
  std::vector<Subject> subjects;
  Progress::Style style = Progress::Style::none;
};

int fit_profile(const Fitting& fitting, const Arguments& arguments, const Texts& texts) {
  if (!arguments.has("output")) return fail(exit_usage, "fit: -o PROFILE.json is missing (or --cross-validate)");
  if (fitting.subjects.empty()) {
    std::string reasons;
    for (const auto& [reason, count] : fitting.samples.skipped) reasons += fmt::format("; {} x {}", count, reason);
    return fail(exit_bad_data, fmt::format("fit: no row can be fitted{}", reasons));
  }
  if (fitting.subjects.size() > 1) {
    std::string list;
    for (const Subject& s : fitting.subjects) {
      list += (list.empty() ? "" : ", ") + fitting.samples.gpus[s.gpu].id + " " + s.provider;
    }
    return fail(
        exit_usage,
        fmt::format("fit: the rows are of several GPUs or providers ({}); choose one with --gpu and --provider", list));
  }
  const Subject& subject = fitting.subjects.front();
  const GpuSpec& gpu = fitting.samples.gpus[subject.gpu];
  KernelProfileFile file{.base = {}, .date = texts.date, .fresh = !arguments.has("base")};
  std::filesystem::path base;
  KernelProfile profile;
  if (file.fresh) {
    const KernelProfileChoice choice = shipped_profile(gpu.id, subject.provider);
    base = choice.file;
    profile = choice.profile;
    profile.gpu = gpu.id;
    profile.provider = subject.provider;
    profile.name = gpu.id + "-" + subject.provider;
    profile.notes = {fmt::format("What was not measured is from {}: {}.", choice.profile.name, choice.reason)};
  } else {
    base = resolve_path(arguments.value("base"), {});
    profile = read_kernel_profile_file(base);
  }
  file.base = text_of(base);
  if (file.fresh) profile.source = "fitted to " + texts.source;
  std::vector<KernelFit> fits;
  std::vector<std::string> refused;
  for (const auto& [key, samples] : subject.sections) {
    if (interrupted()) return fail(exit_interrupted, "interrupted; nothing was written");
    Progress progress(key, fitting.style);
    KernelFit fit = fit_and_validate(gpu, fitting.op, key, samples, profile, shown(progress));
    if (!fit.problem.empty()) {
      refused.push_back(fmt::format("{}: {}", key, fit.problem));
      continue;
    }
    describe(fit, profile, gpu, texts);
    fits.push_back(std::move(fit));
  }
  if (interrupted()) return fail(exit_interrupted, "interrupted; nothing was written");
  if (fits.empty()) return fail(exit_bad_data, fmt::format("fit: nothing was fitted: {}", fmt::join(refused, "; ")));
  for (const std::string& problem : refused) fmt::print("not fitted: {}\n", problem);
  for (const KernelFit& fit : fits) print_fit(fit);
  for (const auto& [reason, count] : fitting.samples.skipped) fmt::print("{} rows not used: {}\n", count, reason);
  for (const auto& [reason, count] : fitting.samples.warnings) fmt::print("{} rows look wrong: {}\n", count, reason);
  const std::string problem =
      write_file_atomically(arguments.value("output"), kernel_profile_json(profile, fits, file));
  if (!problem.empty()) return fail(exit_missing, problem);
  fmt::print("{}: written{}\n", arguments.value("output"),
             file.fresh ? "; what was not measured is from " + base.filename().string() : std::string());
  return exit_ok;
}

/// The file in `folder` of the subject's own profile; empty where there is none.
std::filesystem::path own_file(const std::filesystem::path& folder, const std::string& gpu,
                               const std::string& provider) {
  std::filesystem::path file = folder / fmt::format("{}-{}.json", gpu, provider);
  std::error_code error;
  return std::filesystem::exists(file, error) ? file : std::filesystem::path();
}

/// Writes the fits to the profiles of `folder` that hold such sections, their own ones and those that stand in.
/// Returns a problem, empty when all is well.
std::string refit_profiles(const std::filesystem::path& folder, const Fitting& fitting, std::span<const KernelFit> fits,
                           const KernelProfile& from, const Texts& texts, std::size_t& rewritten) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const std::filesystem::path& file : files) {
    const std::string text = text_of(file);
    if (text.find("\"moesim-profile-1\"") == std::string::npos) continue;  // of collectives
    KernelProfile profile = read_kernel_profile_file(file);
    std::vector<KernelFit> kept;
    for (const KernelFit& fit : fits) {
      const KernelSample& first = *fit.samples.front();
      const GpuSpec& gpu = fitting.samples.gpus[first.gpu];
      const bool own = profile.gpu == gpu.id && profile.provider == first.provider;
      std::optional<KernelSection> section = kernel_section(fit.section->op, fit.section->key, profile);
      const SectionOrigin& origin = section->origin(profile);
      const bool stands_in =
          origin.gpu == gpu.id && origin.provider == first.provider && section->key == fit.section->key;
      if (!own && !stands_in) continue;
      section = kernel_section(fit.section->op, fit.section->key, profile, gpu.architecture);  // with the fitted form
      copy_section(*section, from, *fit.section, profile);
      KernelFit here = fit;
      here.section = section;
      describe(here, profile, gpu, texts);
      kept.push_back(std::move(here));
    }
    if (kept.empty()) continue;
    const std::string problem = write_file_atomically(
        file, kernel_profile_json(profile, kept, {.base = text, .date = texts.date, .fresh = false}));
    if (!problem.empty()) return problem;
    ++rewritten;
  }
  return {};
}

int cross_validate(const Fitting& fitting, const Arguments& arguments, const Texts& texts, const std::string& command) {
  std::vector<KernelValidation> validations;
  std::map<std::pair<std::size_t, std::string>, KernelProfile> fitted;  // by GPU and provider
  const std::filesystem::path folder = arguments.value("profiles");
  std::size_t rewritten = 0;
  std::error_code error;
  if (arguments.has("profiles") && !std::filesystem::is_directory(folder, error)) {
    return fail(exit_missing, fmt::format("{}: no such folder", folder.string()));
  }
  for (const Subject& subject : fitting.subjects) {
    const GpuSpec& gpu = fitting.samples.gpus[subject.gpu];
    const std::filesystem::path own = own_file(folder, gpu.id, subject.provider);
    KernelProfile profile =
        own.empty() ? shipped_profile(gpu.id, subject.provider).profile : read_kernel_profile_file(own);
    std::vector<KernelFit> fits;
    for (const auto& [key, samples] : subject.sections) {
      if (interrupted()) return fail(exit_interrupted, "interrupted");
      Progress progress(fmt::format("{} {} {}", gpu.id, subject.provider, key), fitting.style);
      KernelFit fit = fit_and_validate(gpu, fitting.op, key, samples, profile, shown(progress));
      if (fit.problem.empty()) fits.push_back(fit);
      validations.push_back({gpu.id, subject.provider, key, std::move(fit)});
    }
    if (arguments.has("profiles")) {
      const std::string problem = refit_profiles(folder, fitting, fits, profile, texts, rewritten);
      if (!problem.empty()) return fail(exit_missing, problem);
    }
    fitted[{subject.gpu, subject.provider}] = std::move(profile);
  }
  std::vector<KernelTransfer> transfers;
  for (const Subject& from : fitting.subjects) {
    for (const Subject& to : fitting.subjects) {
      if (from.gpu == to.gpu || from.provider != to.provider) continue;
      // Constants are relative to datasheet rates: other tensor units have others.
      if (fitting.samples.gpus[from.gpu].architecture != fitting.samples.gpus[to.gpu].architecture) continue;
      for (const auto& [key, samples] : to.sections) {
        const bool both = from.sections.contains(key) &&
                          std::any_of(validations.begin(), validations.end(), [&](const KernelValidation& v) {
                            return v.gpu == fitting.samples.gpus[from.gpu].id && v.provider == from.provider &&
                                   v.fit.problem.empty() && v.section == key;
                          });
        if (!both) continue;
        const GpuSpec& gpu = fitting.samples.gpus[to.gpu];
        transfers.push_back({fitting.samples.gpus[from.gpu], gpu, from.provider, key,
                             score(samples, gpu, fitted.at({from.gpu, from.provider}))});
      }
    }
  }
  if (interrupted()) return fail(exit_interrupted, "interrupted");
  if (arguments.has("profiles") && rewritten == 0) {
    fmt::print(stderr, "moesim: fit: no profile in {} holds these kernels\n", folder.string());
  }
  if (arguments.has("plots")) {
    const std::filesystem::path file =
        std::filesystem::path(arguments.value("plots")) / fmt::format("{}.svg", name(fitting.op));
    const std::string problem =
        gnuplot_found()
            ? plot_kernels(validations, fmt::format("{}: shapes that the fit did not see", name(fitting.op)), file)
            : "--plots needs gnuplot on the PATH";
    if (!problem.empty()) return fail(exit_missing, problem);
  }
  fmt::print("{}", kernel_validation_markdown(fitting.op, fitting.samples, validations, transfers, command));
  return exit_ok;
}

}  // namespace

int fit_kernels(const KernelTableOptions& options, const Arguments& arguments, const std::string& command,
                const std::string& date) {
  Fitting fitting;
  fitting.op = options.op;
  fitting.samples = read_kernel_tables(arguments.positionals, options);
  const std::vector<std::string> wanted = arguments.values("section");
  refuse_absent(wanted, fitting.samples);
  fitting.subjects = subjects_of(fitting.samples, wanted);
  if (!arguments.has("quiet")) fitting.style = Progress::style_of_stderr();
  watch_interrupts();
  Texts texts{.source = arguments.value("source"), .licence = arguments.value("licence"), .date = date};
  if (texts.source.empty()) {
    for (const std::string& table : fitting.samples.tables) {
      texts.source += (texts.source.empty() ? "" : ", ") + std::filesystem::path(table).filename().string();
    }
  }
  if (arguments.has("cross-validate") || arguments.has("profiles")) {
    return cross_validate(fitting, arguments, texts, command);
  }
  return fit_profile(fitting, arguments, texts);
}

}  // namespace moesim
