#include "cli/rescale_kernels.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "calibration/kernel_fit.h"
#include "calibration/kernel_range.h"
#include "calibration/kernel_rescale.h"
#include "cli/calibration_options.h"
#include "config/json_reader.h"
#include "config/read_kernel_table.h"
#include "config/read_profile.h"
#include "report/kernel_profile_json.h"
#include "report/output_file.h"

namespace moesim {

namespace {

/// Tables of which every row is of one GPU and one provider.
struct Rows {
  KernelSamples samples;
  SampleList list;
  std::string problem;

  const GpuSpec& gpu() const { return samples.gpus[list.front()->gpu]; }
  const std::string& provider() const { return list.front()->provider; }
};

Rows rows_of(const std::vector<std::string>& tables, const KernelTableOptions& options) {
  Rows rows{.samples = read_kernel_tables(tables, options), .list = {}, .problem = {}};
  std::set<std::string> whose;
  for (const KernelSample& sample : rows.samples.samples) {
    rows.list.push_back(&sample);
    whose.insert(rows.samples.gpus[sample.gpu].id + " " + sample.provider);
  }
  const std::string& table = tables.front();
  if (rows.list.empty()) {
    rows.problem = fmt::format("{}: no row can be used", table);
    for (const auto& [reason, count] : rows.samples.skipped) rows.problem += fmt::format("; {} x {}", count, reason);
  } else if (whose.size() > 1) {
    rows.problem =
        fmt::format("{}: expected rows of one GPU and provider, got several: {}; choose with --provider and --gpu",
                    table, fmt::join(whose, ", "));
  }
  return rows;
}

struct Base {
  std::filesystem::path file;
  KernelProfile profile;
  std::string text;
};

Base read_base(const std::filesystem::path& file) {
  return {file, read_kernel_profile_file(file), text_of(file)};
}

int write(const Arguments& arguments, const Base& base, const KernelProfile& profile, std::span<const KernelFit> fits,
          const std::string& date) {
  const KernelProfileFile file{.base = base.text, .date = date, .fresh = false, .renamed = true};
  const std::string problem =
      write_file_atomically(arguments.value("output"), kernel_profile_json(profile, fits, file));
  if (!problem.empty()) return fail(exit_missing, problem);
  fmt::print("{}: written; the rest is as in {}\n", arguments.value("output"), base.file.filename().string());
  return exit_ok;
}

/// Adds what it was not, once.
void add(std::vector<std::string>& list, const std::string& text) {
  if (std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
}

int rescale_by_ratio(const Arguments& arguments, const Rows& local, const Rows& reference, const std::string& date) {
  const std::string provider = arguments.value("as");
  if (local.provider() != reference.provider()) {
    return fail(exit_usage, fmt::format("fit: the rows are of {}, those of --reference of {}: a ratio needs the same "
                                        "kernels",
                                        local.provider(), reference.provider()));
  }
  if (local.gpu().id == reference.gpu().id) {
    return fail(exit_usage, fmt::format("fit: the rows and those of --reference are both of {}", local.gpu().id));
  }
  const KernelProfileChoice measured = select_kernel_profile("auto", reference.gpu().id, std::string_view(provider));
  if (measured.profile.gpu != reference.gpu().id || measured.profile.provider != provider) {
    return fail(exit_usage, fmt::format("fit: {} has no profile measured on {}, the GPU of --reference", provider,
                                        reference.gpu().id));
  }
  const Base base = read_base(arguments.has("base") ? resolve_path(arguments.value("base"), {}) : measured.file);
  const std::string& on = base.profile.gpu;
  if ((on != reference.gpu().id && on != local.gpu().id) || base.profile.provider != provider) {
    return fail(exit_usage, fmt::format("fit: {}: expected a profile of {} on {} or rescaled to {}, got {} on {}",
                                        base.file.string(), provider, reference.gpu().id, local.gpu().id,
                                        base.profile.provider, on));
  }
  KernelProfile profile = base.profile;
  const auto ratios = rescale(profile, local.gpu(), local.list, reference.gpu(), reference.list);
  std::vector<KernelFit> fits;
  fmt::print("{:<36} {:>5}  {:>22}  {:>22}  {:>6}\n", "", "rows", "local / reference", "beside the datasheets",
             "log sd");
  for (const auto& [key, ratio] : ratios) {
    if (!ratio.problem.empty()) {
      fmt::print("{:<36} {:>5}  not rescaled: {}\n", key, ratio.rows, ratio.problem);
      continue;
    }
    const auto three = [](const RegimeFactors& f) {
      return fmt::format("{:>6.3f} {:>7.3f} {:>7.3f}", f[0], f[1], f[2]);
    };
    fmt::print("{:<36} {:>5}  {:>22}  {:>22}  {:>6.3f}\n", key, ratio.rows, three(ratio.local_to_reference),
               three(ratio.factor), ratio.log_sd);
    const auto of_section =
        std::find_if(local.list.begin(), local.list.end(), [&](const KernelSample* s) { return s->section == key; });
    KernelFit fit;
    fit.section = kernel_section((*of_section)->op, key, profile);
    fits.push_back(std::move(fit));
  }
  if (fits.empty()) return fail(exit_bad_data, "fit: nothing was rescaled");
  if (local.gpu().architecture != reference.gpu().architecture) {
    fmt::print(stderr,
               "moesim: fit: {} is {}, {} is {}: across architectures ratios of other kernels said no more than "
               "datasheets where it could be tried (docs/calibration.md)\n",
               local.gpu().id, local.gpu().architecture, reference.gpu().id, reference.gpu().architecture);
  }
  profile.name = fmt::format("{}-{}-rescaled", local.gpu().id, provider);
  profile.gpu = local.gpu().id;
  profile.also_for.clear();
  add(profile.notes,
      fmt::format("{}'s kernels of {} for {}: sections with a factor are rescaled by kernels of {} measured "
                  "on both, the others by datasheet rates.",
                  provider, reference.gpu().id, local.gpu().id, local.provider()));
  return write(arguments, base, profile, fits, date);
}

int fit_rates(const Arguments& arguments, const Rows& local, const std::string& date) {
  const std::string provider = arguments.value("as");
  const KernelProfileChoice now = select_kernel_profile("auto", local.gpu().id, std::string_view(provider));
  const Base base = read_base(arguments.has("base") ? resolve_path(arguments.value("base"), {}) : now.file);
  if (base.profile.provider != provider) {
    return fail(exit_usage, fmt::format("fit: {}: expected a profile of {}, got one of {}", base.file.string(),
                                        provider, base.profile.provider));
  }
  KernelProfile profile = base.profile;
  const std::string key = "memory_pass";
  KernelFit fit = fit_and_validate(local.gpu(), KernelOp::memory_pass, key, local.list, profile);
  if (!fit.problem.empty()) return fail(exit_bad_data, fmt::format("fit: {}: {}", key, fit.problem));
  SectionOrigin& origin = fit.section->origin(profile);
  origin = {.source = fmt::format("fitted: {}, {} passes of {} on {}", local.samples.tables.front(), local.list.size(),
                                  local.provider(), local.gpu().id),
            .provider = local.provider(),
            .licence = arguments.value("licence"),
            .gpu = local.gpu().id,
            .fit_range = fit_range(local.list),
            .derived_from = {},
            .date = date,
            .residuals = origin.residuals,
            .errors = origin.errors};
  const ErrorSummary errors = errors_of(fit.held_out());
  fmt::print("{}: {} rows, median error {:.1f} %; products, attention and experts stay {}'s\n", key, local.list.size(),
             100 * errors.median_ape, base.profile.provider);
  profile.name = fmt::format("{}-{}-rates", local.gpu().id, provider);
  profile.gpu = local.gpu().id;
  profile.also_for.clear();
  add(profile.notes,
      fmt::format("Passes that stream were measured on {} with kernels of {}.", local.gpu().id, local.provider()));
  return write(arguments, base, profile, std::span(&fit, 1), date);
}

}  // namespace

int rescale_kernels(const KernelTableOptions& options, const Arguments& arguments, const std::string& date) {
  if (!arguments.has("as")) return fail(exit_usage, "fit: --reference needs --as PROVIDER");
  if (!arguments.has("output")) return fail(exit_usage, "fit: -o PROFILE.json is missing");
  for (const char* const option : {"section", "cross-validate", "profiles"}) {
    if (arguments.has(option)) return fail(exit_usage, fmt::format("fit: --{} and --as exclude each other", option));
  }
  if (!arguments.has("reference") && options.op != KernelOp::memory_pass) {
    return fail(
        exit_usage,
        fmt::format("fit: --as {0} with kernels of another provider needs --reference TABLE.csv, the same kernels "
                    "on a GPU whose profile of {0} was measured; without it only --op memory_pass can be set",
                    arguments.value("as")));
  }
  const std::vector<std::string> references = arguments.values("reference");
  KernelTableOptions of_reference = options;
  of_reference.gpu.clear();  // --gpu says whose the local rows are
  const Rows reference = references.empty() ? Rows{} : rows_of(references, of_reference);
  if (!reference.problem.empty()) return fail(exit_bad_data, "fit: " + reference.problem);
  const Rows local = rows_of(arguments.positionals, options);
  if (!local.problem.empty()) return fail(exit_bad_data, "fit: " + local.problem);
  if (local.provider() == arguments.value("as")) {
    return fail(exit_usage, fmt::format("fit: the rows are {}'s own: fit them without --as", local.provider()));
  }
  return references.empty() ? fit_rates(arguments, local, date) : rescale_by_ratio(arguments, local, reference, date);
}

}  // namespace moesim
