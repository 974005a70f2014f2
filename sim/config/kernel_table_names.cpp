#include "config/kernel_table_names.h"

#include <algorithm>

#include "config/json_reader.h"
#include "config/model_catalog.h"
#include "config/read_gpu.h"
#include "config/read_model.h"

namespace moesim {

namespace {

std::vector<std::string> words_of(std::string_view stem) {
  std::vector<std::string> words;
  for (std::size_t from = 0; from <= stem.size();) {
    const std::size_t end = std::min(stem.find('_', from), stem.size());
    words.emplace_back(stem.substr(from, end - from));
    from = end + 1;
  }
  return words;
}

struct Source {
  std::string_view start, provider;
};
constexpr Source kSources[] = {{"infersim_gemm", "deepgemm"},
                               {"infersim_grouped_gemm", "deepgemm"},
                               {"infersim_mla", "flashmla"},
                               {"infersim_mha", "flash_attention"},
                               {"llmservingsim_", "vllm"},
                               {"frontier_", "vllm"},
                               {"vidur_", "vllm"},
                               {"llmcompass_", "cublas"}};

}  // namespace

GpuNames::GpuNames() : gpus_(read_gpus()) {
  for (std::size_t i = 0; i < gpus_.size(); ++i) by_key_.emplace(gpu_key(gpus_[i].id), i);
  for (std::size_t i = 0; i < gpus_.size(); ++i) {
    for (const std::string& alias : gpus_[i].aliases) by_key_.emplace(gpu_key(alias), i);
  }
}

const GpuSpec* GpuNames::find(std::string_view spelling) const {
  const auto found = by_key_.find(gpu_key(spelling));
  return found == by_key_.end() ? nullptr : &gpus_[found->second];
}

TableName table_name(std::string_view stem, const GpuNames& gpus) {
  const std::vector<std::string> words = words_of(stem);
  TableName name;
  std::size_t behind = words.size();
  // The longest run of words that names a GPU: a100_pcie before a100.
  for (std::size_t length = words.size(); length > 0 && name.gpu == nullptr; --length) {
    for (std::size_t from = 0; from + length <= words.size() && name.gpu == nullptr; ++from) {
      std::string run;
      for (std::size_t i = from; i < from + length; ++i) run += words[i];
      name.gpu = gpus.find(run);
      behind = from + length;
    }
  }
  for (const Source& source : kSources) {
    if (!stem.starts_with(source.start)) continue;
    name.provider = source.provider;
    return name;
  }
  if (name.gpu != nullptr && behind < words.size()) {
    const std::string& word = words[behind];
    const std::size_t dash = word.find('-');
    name.provider = word.substr(0, dash);
    if (dash != std::string::npos) name.version = word.substr(dash + 1);
  }
  return name;
}

std::optional<LayerShape> model_in_name(std::string_view stem) {
  const std::string key = gpu_key(words_of(stem).back());
  if (key.empty()) return std::nullopt;
  const ModelCatalog catalog = read_model_catalog(product_root() / "models");
  const auto found = std::find_if(catalog.files.begin(), catalog.files.end(),
                                  [&](const auto& one) { return gpu_key(one.first) == key; });
  if (found == catalog.files.end()) return std::nullopt;
  const ModelSpec model = read_model_file(found->second);
  LayerShape shape{.hidden = model.hidden, .vocabulary = model.vocabulary};
  if (!model.mixers.empty()) {
    shape.q_heads = model.mixers.front().query_heads;
    shape.kv_heads = model.mixers.front().kv_heads;
    shape.head_dim = model.mixers.front().key_dim;
  }
  if (!model.layers.empty()) shape.inter = model.layers.front().dense_width;
  if (model.is_moe()) {
    shape.experts = model.moe.experts;
    shape.top_k = model.moe.top_k;
    shape.expert_width = model.moe.width;
  }
  return shape;
}

}  // namespace moesim
