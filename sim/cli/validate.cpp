// moesim validate: every row of a table of measured results is simulated and compared with its measurement.

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "cli/command.h"
#include "cli/progress.h"
#include "config/json_reader.h"
#include "report/energy_validation_text.h"
#include "report/output_file.h"
#include "report/validation_text.h"
#include "study/energy_validation.h"
#include "study/validate.h"

namespace moesim {

namespace {

constexpr PositionalRow positionals[] = {{.name = "TABLE.csv"}};
constexpr OptionRow rows[] = {
    {.name = "models",
     .value = "DIR",
     .meaning = "a folder of further model files, matched by name",
     .completion = Completion::folder},
    {.name = "json", .meaning = "print one object instead of the table"},
    {.name = "csv", .value = "FILE", .meaning = "write every prediction to a file", .completion = Completion::file},
    {.name = "clocks", .value = "KIND", .meaning = "locked (the default) or sustained, for a table of measured energy"},
    {.name = "jobs", .letter = 'j', .value = "N", .meaning = "rows at a time (as many as there are processors)"},
    {.name = "quiet", .letter = 'q', .meaning = "no progress on stderr"},
};

/// Writes the predictions where asked for, and prints the rest.
int give(const Arguments& arguments, const std::string& csv, const std::string& printed) {
  if (interrupted()) return fail(exit_interrupted, "interrupted; nothing was written");
  if (arguments.has("csv")) {
    const std::string problem = write_file_atomically(arguments.value("csv"), csv);
    if (!problem.empty()) return fail(exit_missing, problem);
  }
  fmt::print("{}", printed);
  return exit_ok;
}

int run(const Arguments& arguments) {
  int jobs = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (arguments.has("jobs")) {
    const std::string text = arguments.value("jobs");
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != 0 || value < 1 || value > 1024) {
      return fail(exit_usage, fmt::format("--jobs {}: expected a whole number from 1 to 1024", text));
    }
    jobs = static_cast<int>(value);
  }
  if (arguments.has("models") && !std::filesystem::is_directory(arguments.value("models"))) {
    return fail(exit_missing, fmt::format("--models {}: no such folder", arguments.value("models")));
  }
  const std::string clocks = arguments.has("clocks") ? arguments.value("clocks") : "locked";
  if (clocks != "locked" && clocks != "sustained") {
    return fail(exit_usage, fmt::format("--clocks {}: expected locked or sustained", clocks));
  }
  const std::string table = arguments.positionals[0];
  const bool json = arguments.has("json");
  const auto validated = [&](auto&& compute) {
    ValidationSources sources(arguments.value("models"));
    watch_interrupts();
    Progress progress(input_name(table), arguments.has("quiet") ? Progress::Style::none : Progress::style_of_stderr());
    return compute(sources, CaseProgress{.update = [&progress](std::int64_t done,
                                                               std::int64_t total) { progress.update(done, total); },
                                         .interrupted = interrupted});
  };
  if (is_energy_table(table)) {
    const std::vector<EnergyRow> measured = read_energy_table(table);
    const EnergyValidation result = validated([&](ValidationSources& sources, const CaseProgress& progress) {
      return validate_energy(measured, sources, clocks == "locked" ? Clocks::locked : Clocks::sustained, jobs,
                             progress);
    });
    return give(arguments, energy_validation_csv(result),
                json ? energy_validation_json(result) : energy_validation_table(result));
  }
  const std::vector<ServingRow> measured = read_serving_table(table);
  const ValidationResult result = validated([&](ValidationSources& sources, const CaseProgress& progress) {
    return validate(measured, sources, jobs, progress);
  });
  return give(arguments, validation_csv(result), json ? validation_json(result) : validation_table(result));
}

}  // namespace

const Command& validate_command() {
  static const Command command = {.name = "validate",
                                  .summary = "Simulates every row of a table of measured results; prints the error.",
                                  .example = "moesim validate serving.csv --csv predictions.csv",
                                  .positionals = positionals,
                                  .options = rows,
                                  .run = run};
  return command;
}

}  // namespace moesim
