#include "cli/predict_kernels.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "config/json_reader.h"
#include "config/read_profile.h"
#include "report/kernel_prediction_text.h"
#include "report/output_file.h"

namespace moesim {

int predict_kernel_tables(const Arguments& arguments, const KernelTableOptions& options) {
  if (arguments.has("cluster")) return fail(exit_usage, "predict: --cluster is for communication; give --gpu");
  if (arguments.values("profile").size() > 1) return fail(exit_usage, "predict: kernels take one --profile");
  KernelSamples samples = read_kernel_tables(arguments.positionals, options);
  KernelPredictions predictions{.samples = &samples, .op = options.op, .profiles = {}, .scored = {}};
  std::map<std::pair<std::size_t, std::string>, std::vector<const KernelSample*>> batches;  // GPU, provider
  for (const KernelSample& sample : samples.samples) batches[{sample.gpu, sample.provider}].push_back(&sample);
  const std::string calibration = arguments.has("profile") ? arguments.value("profile") : "auto";
  for (const auto& [key, batch] : batches) {
    const auto& [gpu, provider] = key;
    KernelProfileChoice choice = select_kernel_profile(calibration, samples.gpus[gpu].id, provider);
    const std::vector<double> seconds = predict_kernels(batch, samples.gpus[gpu], choice.profile);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      if (seconds[i] > 0) {
        predictions.scored.push_back({batch[i], seconds[i], predictions.profiles.size()});
      } else {
        ++samples.skipped["no profile has this kernel"];
      }
    }
    predictions.profiles.push_back({gpu, provider, std::move(choice.profile), std::move(choice.reason)});
  }
  std::sort(predictions.scored.begin(), predictions.scored.end(),
            [](const PredictedKernel& a, const PredictedKernel& b) { return a.sample < b.sample; });
  if (arguments.has("csv")) {
    const std::string problem = write_file_atomically(arguments.value("csv"), predictions_csv(predictions));
    if (!problem.empty()) return fail(exit_missing, problem);
  }
  fmt::print("{}", arguments.has("json") ? predictions_json(predictions) : predictions_table(predictions));
  return exit_ok;
}

}  // namespace moesim
