#include "config/read_weight_formats.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <regex>

namespace moesim {
namespace {

/// Parts of WeightFormats with the module names that checkpoints give them.
struct Part {
  DataType WeightFormats::* format;
  std::vector<std::string_view> modules;  ///< below "layers.N.", or the whole name of the head
};

const std::vector<Part>& parts() {
  static const std::vector<Part> all = {
      {&WeightFormats::attention, {"self_attn.q_proj", "self_attn.q_b_proj", "self_attn.qkv_proj", "self_attn.o_proj"}},
      {&WeightFormats::dense_ffn, {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}},
      {&WeightFormats::experts,
       {"mlp.experts.0.gate_proj", "mlp.experts.0.down_proj", "mlp.experts.gate_up_proj", "mlp.experts",
        "block_sparse_moe.experts.0.w1"}},
      {&WeightFormats::shared, {"mlp.shared_experts.gate_proj", "mlp.shared_expert.gate_proj"}},
      {&WeightFormats::head, {"lm_head"}}};
  return all;
}

std::vector<std::string_view> split(std::string_view name) {
  std::vector<std::string_view> words;
  while (!name.empty()) {
    const std::size_t dot = std::min(name.find('.'), name.size());
    words.push_back(name.substr(0, dot));
    name.remove_prefix(std::min(dot + 1, name.size()));
  }
  return words;
}

/// `*` stands for any text.
bool glob_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, retry = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// Does an entry of a list of modules mean `module`? "re:" starts a regular expression over the whole name, `*` a glob
/// of the name or of what it lies in; else the entry is a run of whole words of the name ("gate" is not "gate_proj").
bool names(const JsonReader& entry, const std::string& module) {
  const std::string pattern = entry.string();
  constexpr std::size_t longest_pattern = 300;
  if (pattern.size() > longest_pattern) entry.fail("expected a module name of at most 300 characters");
  if (pattern.starts_with("re:")) {
    try {
      return std::regex_search(module, std::regex(pattern.substr(3)), std::regex_constants::match_continuous);
    } catch (const std::regex_error&) {
      entry.fail("not a regular expression");
    }
  }
  if (pattern.find('*') != std::string::npos) {
    return glob_matches(pattern, module) || glob_matches(pattern + ".*", module);
  }
  const auto words = split(pattern), all = split(module);
  return !words.empty() && std::search(all.begin(), all.end(), words.begin(), words.end()) != all.end();
}

bool any_names(const std::vector<JsonReader>& entries, const Part& part, std::int64_t layer) {
  for (const JsonReader& entry : entries) {
    for (const std::string_view module : part.modules) {
      if (module == "lm_head") {
        if (names(entry, "lm_head") || names(entry, "language_model.lm_head")) return true;
        continue;
      }
      for (const char* prefix : {"model", "language_model.model", "model.language_model"}) {
        if (names(entry, fmt::format("{}.layers.{}.{}", prefix, layer, module))) return true;
      }
    }
  }
  return false;
}

DataType of_bits(const JsonReader& bits) {
  switch (bits.integer_in(4, 8)) {
    case 4:
      return DataType::int4;
    case 8:
      return DataType::int8;
    default:
      bits.fail("expected 4 or 8 bits");
  }
}

/// The `weights` of a group of compressed-tensors or of modelopt.
DataType of_scheme(const JsonReader& weights) {
  const std::string type = weights.find("type") ? weights.at("type").string() : "int";
  const DataType integer = of_bits(weights.at("num_bits"));
  if (type == "int") return integer;
  if (type != "float") weights.at("type").fail("expected \"int\" or \"float\"");
  if (integer == DataType::int8) {
    const auto strategy = weights.find("strategy");
    return strategy && strategy->string() == "block" ? DataType::fp8_block : DataType::fp8;
  }
  const auto group = weights.find("group_size");
  return group && group->integer() == 32 ? DataType::mxfp4 : DataType::nvfp4;
}

DataType of_algorithm(const JsonReader& algorithm) {
  const std::string name = algorithm.string();
  if (name == "FP8" || name == "FP8_PER_CHANNEL_PER_TOKEN") return DataType::fp8;
  if (name == "FP8_PB_WO") return DataType::fp8_block;
  if (name == "NVFP4" || name == "W4A16_NVFP4" || name == "NVFP4_AWQ") return DataType::nvfp4;
  if (name == "W4A8_MXFP4_FP8" || name == "MXFP4") return DataType::mxfp4;
  if (name == "W4A16_AWQ" || name == "W4A8_AWQ" || name == "INT4_AWQ") return DataType::int4;
  if (name == "INT8_SQ" || name == "W8A8_SQ_PER_CHANNEL") return DataType::int8;
  algorithm.fail("unknown algorithm; expected FP8, FP8_PB_WO, NVFP4, MXFP4, W4A16_AWQ, W4A8_AWQ or INT8_SQ");
}

}  // namespace

DataType read_base_format(const JsonReader& value) {
  const std::string name = value.string();
  if (name == "bfloat16" || name == "torch.bfloat16") return DataType::bf16;
  if (name == "float16" || name == "torch.float16" || name == "half") return DataType::fp16;
  if (name == "float32" || name == "torch.float32" || name == "float") return DataType::fp32;
  if (name == "float8_e4m3fn") return DataType::fp8;
  value.fail("unknown number format; expected bfloat16, float16, float32 or float8_e4m3fn");
}

WeightFormats read_weight_formats(const JsonReader& quantization, DataType base, std::int64_t layer) {
  WeightFormats formats{base, base, base, base, base, base, base};
  const auto set = [&](DataType format, const std::vector<JsonReader>* only, const std::vector<JsonReader>& except) {
    for (const Part& part : parts()) {
      if (only != nullptr && !any_names(*only, part, layer)) continue;
      // Methods leave the head alone unless a group names it.
      if (only == nullptr && part.format == &WeightFormats::head) continue;
      if (!any_names(except, part, layer)) formats.*part.format = format;
    }
  };
  const auto list = [&](std::string_view key) {
    const auto entries = quantization.find(key);
    return entries ? entries->elements() : std::vector<JsonReader>();
  };
  std::vector<JsonReader> except;
  for (const std::string_view key : {"modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers"}) {
    for (const JsonReader& entry : list(key)) except.push_back(entry);
  }
  const JsonReader method_name = quantization.at("quant_method");
  const std::string method = method_name.string();
  if (method == "fp8" || method == "fbgemm_fp8") {
    set(quantization.find("weight_block_size") ? DataType::fp8_block : DataType::fp8, nullptr, except);
  } else if (method == "mxfp4") {
    // Converts the expert modules only.
    if (!any_names(except, parts()[2], layer)) formats.experts = DataType::mxfp4;
  } else if (method == "awq" || method == "gptq" || method == "auto-round") {
    set(of_bits(quantization.at("bits")), nullptr, except);
  } else if (method == "bitsandbytes") {
    const auto four = quantization.find("load_in_4bit");
    set(four && four->boolean() ? DataType::int4 : DataType::int8, nullptr, except);
  } else if (method == "compressed-tensors" || (method == "modelopt" && quantization.find("config_groups"))) {
    const JsonReader groups = quantization.at("config_groups");
    for (const std::string& name : groups.keys()) {
      const JsonReader group = groups.at(name);
      const auto weights = group.find("weights");
      if (!weights) continue;
      // "Linear" means every projection; other targets are names of modules.
      std::vector<JsonReader> targets;
      bool all = false;
      if (const auto entries = group.find("targets")) {
        for (const JsonReader& entry : entries->elements()) {
          if (entry.string() == "Linear") {
            all = true;
          } else {
            targets.push_back(entry);
          }
        }
      }
      set(of_scheme(*weights), all || targets.empty() ? nullptr : &targets, except);
    }
  } else if (method == "modelopt" || method == "modelopt_fp4") {
    set(of_algorithm(quantization.at("quant_algo")), nullptr, except);
  } else {
    method_name.fail("unknown method; expected fp8, mxfp4, awq, gptq, compressed-tensors, modelopt or bitsandbytes");
  }
  return formats;
}

}  // namespace moesim
