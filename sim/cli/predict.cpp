// moesim predict: every row of a table of measured kernels or communication is predicted and compared with its
// measurement.

#include <fmt/core.h>

#include "cli/calibration_options.h"
#include "cli/predict_kernels.h"
#include "report/comm_prediction_text.h"
#include "report/output_file.h"

namespace moesim {

namespace {

constexpr PositionalRow positionals[] = {{.name = "MEASURED.csv"}};
constexpr auto rows = with_table_options(std::array<OptionRow, 3>{
    {{.name = "profile",
      .value = "FILE",
      .meaning = "a kernel profile instead of the shipped ones, or a collective one over them; fit writes both",
      .completion = Completion::file,
      .repeated = true},
     {.name = "json", .meaning = "print one object instead of the table"},
     {.name = "csv", .value = "FILE", .meaning = "write every prediction to a file", .completion = Completion::file}}});

int run(const Arguments& arguments) {
  if (const std::string problem = output_problem(arguments, "csv"); !problem.empty()) {
    return fail(exit_missing, "predict: " + problem);
  }
  if (const auto kernels = kernel_table_options(arguments)) return predict_kernel_tables(arguments, *kernels);
  const auto options = comm_table_options(arguments);
  if (const auto* refusal = std::get_if<Refusal>(&options)) return fail(refusal->code, refusal->message);
  CommSamples samples = read_comm_tables(arguments.positionals, std::get<CommTableOptions>(options));
  for (const std::string& profile : arguments.values("profile")) overlay_profile(samples, profile);
  CommPredictions predictions{std::get<CommTableOptions>(options).op, &samples, {}};
  std::vector<const CommSample*> all;
  std::vector<CollectiveProfile> profiles;
  for (const CommSample& sample : samples.samples) all.push_back(&sample);
  for (const CommSystem& system : samples.systems) profiles.push_back(system.profile);
  const std::vector<double> seconds = CommPredictor(samples.systems).predict(all, profiles);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (seconds[i] > 0) {
      predictions.scored.push_back({all[i], seconds[i]});
    } else {
      ++samples.skipped["no profile has this kernel"];
    }
  }
  if (arguments.has("csv")) {
    const std::string problem = write_file_atomically(arguments.value("csv"), predictions_csv(predictions));
    if (!problem.empty()) return fail(exit_missing, problem);
  }
  fmt::print("{}", arguments.has("json") ? predictions_json(predictions) : predictions_table(predictions));
  return exit_ok;
}

}  // namespace

const Command& predict_command() {
  static const Command command = {
      .name = "predict",
      .summary = "Predicts every row of a table of measured kernels or communication; prints the error.",
      .example = "moesim predict nccl_sweep.csv --op nccl --csv predictions.csv",
      .positionals = positionals,
      .options = rows,
      .run = run};
  return command;
}

}  // namespace moesim
