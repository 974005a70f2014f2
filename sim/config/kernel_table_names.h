#pragma once
// What the name of a table of measured kernels says: GPU, provider, version, model.

#include <optional>
#include <string>
#include <string_view>

#include "config/kernel_rows.h"
#include "hardware/gpu_spec.h"

namespace moesim {

/// The shipped GPUs by every spelling.
class GpuNames {
 public:
  GpuNames();
  /// Nothing where no file of topologies/gpu has that id or alias.
  const GpuSpec* find(std::string_view spelling) const;

 private:
  std::vector<GpuSpec> gpus_;
  std::map<std::string, std::size_t> by_key_;
};

struct TableName {
  const GpuSpec* gpu = nullptr;
  std::string provider, version;  ///< empty: the name does not say
};
/// FAMILY_GPU_PROVIDER-VERSION, with or without the version; the public sources whose tables name no provider
/// (InferSim, LLMServingSim, Frontier, Vidur, LLMCompass) by their first word.
TableName table_name(std::string_view stem, const GpuNames& gpus);

/// The shape of the shipped model whose name is the stem's last word, letters and digits compared.
std::optional<LayerShape> model_in_name(std::string_view stem);

}  // namespace moesim
