#include "config/read_model.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/model_catalog.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

ModelSpec read(const ordered_json& json) {
  return read_model(JsonReader(json, "m.json"));
}

std::string error_of(const ordered_json& json) {
  try {
    read(json);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 4);
    return error.what();
  }
  return "no error";
}

/// Cached elements a token of all layers, the keys of a sparse indexer left out, as makers count.
std::int64_t cached_elements(const ModelSpec& model) {
  std::int64_t elements = 0;
  for (std::size_t i = static_cast<std::size_t>(model.encoder_layers); i < model.layers.size(); ++i) {
    const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(model.layers[i].mixer)];
    elements += cache_elements_per_token(mixer) - mixer.index_dim;
  }
  return elements;
}

std::int64_t moe_layers(const ModelSpec& model) {
  return std::ranges::count_if(model.layers, &LayerSpec::moe);
}

std::vector<std::map<std::string, std::string>> read_csv(const fs::path& path) {
  std::ifstream in(path);
  std::vector<std::map<std::string, std::string>> rows;
  std::vector<std::string> header;
  for (std::string line; std::getline(in, line);) {
    std::vector<std::string> cells;
    std::istringstream words(line);
    for (std::string cell; std::getline(words, cell, ',');) cells.push_back(cell);
    if (header.empty()) {
      header = cells;
      continue;
    }
    auto& row = rows.emplace_back();
    for (std::size_t i = 0; i < cells.size() && i < header.size(); ++i) row[header[i]] = cells[i];
  }
  return rows;
}

TEST(SharedModels, EveryRowOfTheExpectedCountsIsMetWithinATenthOfAPercent) {
  const fs::path folder = fs::path(MOESIM_SHARED_DATA) / "models";
  if (!fs::exists(folder / "expected_params.csv")) GTEST_SKIP() << "no " << folder / "expected_params.csv";
  const auto rows = read_csv(folder / "expected_params.csv");
  ASSERT_GT(rows.size(), 60u);
  for (const auto& row : rows) {
    const std::string& name = row.at("model");
    SCOPED_TRACE(name);
    ModelSpec model;
    ASSERT_NO_THROW(model = read_model_file(folder / (name + ".json")));
    const ParameterCount count = count_parameters(model);
    const auto near = [](std::int64_t value, const std::string& expected) {
      const double e = std::stod(expected);
      EXPECT_NEAR(static_cast<double>(value), e, 1e-3 * e);
    };
    near(count.total, row.at("total"));
    near(count.active, row.at("active"));
    near(count.active_without_embedding, row.at("active_noemb"));
    EXPECT_EQ(static_cast<std::int64_t>(model.layers.size()), std::stoll(row.at("layers")));
    EXPECT_EQ(moe_layers(model), std::stoll(row.at("moe_layers")));
    EXPECT_EQ(model.moe.experts, std::stoll(row.at("experts")));
    EXPECT_EQ(model.moe.top_k, std::stoll(row.at("topk")));
    EXPECT_EQ(cached_elements(model), std::stoll(row.at("kv_elems_per_token")));
    EXPECT_EQ(model.embedding_weights, std::stoll(row.at("embed_params")));
    if (std::stoll(row.at("mtp_extra")) > 0) near(model.mtp_weights, row.at("mtp_extra"));
  }
}

TEST(Models, HybridsAndSparseAttentionComeNearTheirPublishedSize) {
  const fs::path folder = product_root() / "models";
  // Billions of parameters, total and active, as published (NVIDIA, Google and MiniMax model cards).
  const struct {
    const char* file;
    double total, active;
  } published[] = {{"NVIDIA-Nemotron-3-Nano-30B-A3B", 31.6, 3.6},
                   {"gemma-4-26B-A4B", 25.2, 3.8},
                   {"gemma-4-31B-it", 30.7, 30.7},
                   {"MiniMax-M3", 428, 23}};
  for (const auto& row : published) {
    SCOPED_TRACE(row.file);
    const ParameterCount count = count_parameters(read_model_file(folder / (std::string(row.file) + ".json")));
    EXPECT_NEAR(static_cast<double>(count.total) * 1e-9, row.total, 0.01 * row.total);
    // MiniMax counts without embedding and head, the others with the tied table or all of it.
    const auto active = row.total > 400 ? count.active_without_embedding_and_head : count.active;
    EXPECT_NEAR(static_cast<double>(active) * 1e-9, row.active, 0.05 * row.active);
  }
}

// Figures of the makers: DeepSeek-V3 arXiv:2412.19437, Mixtral arXiv:2401.04088, Qwen3 arXiv:2505.09388, gpt-oss
// arXiv:2508.10925, Llama 3 arXiv:2407.21783; totals and "active without embedding" in billions, cache of a token in
// bf16 in bytes (2 x layers x kv_heads x 2 x head_dim; latent: 2 x layers x (kv_lora_rank + rope)).
TEST(Models, TheShippedFilesGiveThePublishedCounts) {
  const struct {
    const char* file;
    double total, active_without_embedding;
    std::int64_t cache_bytes;
  } published[] = {{"DeepSeek-V3", 671.03, 36.62, 70'272},      {"Mixtral-8x7B-v0.1", 46.70, 12.75, 131'072},
                   {"Qwen3-30B-A3B", 30.53, 3.04, 98'304},      {"gpt-oss-120b", 116.83, 5.13, 73'728},
                   {"Meta-Llama-3-70B", 70.55, 69.50, 327'680}, {"Llama-2-7b-hf", 6.738, 6.607, 524'288},
                   {"Llama-2-70b-hf", 68.977, 68.714, 327'680}, {"Meta-Llama-3.1-405B", 405.85, 403.75, 516'096},
                   {"gpt-oss-20b", 20.91, 3.61, 49'152},        {"gpt-j-6b", 6.05, 5.84, 458'752}};
  for (const auto& row : published) {
    SCOPED_TRACE(row.file);
    const ModelSpec model = read_model_file(product_root() / "models" / (std::string(row.file) + ".json"));
    const ParameterCount count = count_parameters(model);
    EXPECT_NEAR(static_cast<double>(count.total) * 1e-9, row.total, 0.001 * row.total);
    EXPECT_NEAR(static_cast<double>(count.active_without_embedding) * 1e-9, row.active_without_embedding,
                0.002 * row.active_without_embedding);
    EXPECT_EQ(cache_bytes_per_token(model, DataType::bf16).value, row.cache_bytes);
  }
}

// Numbers of parameters that the hub states for the published safetensors files.
TEST(Models, TheShippedFilesHaveExactlyTheParametersOfTheWeightFiles) {
  const struct {
    const char* file;
    std::int64_t total;
  } published[] = {{"Llama-2-7b-hf", 6'738'415'616},
                   {"Llama-2-13b-hf", 13'015'864'320},
                   {"Llama-2-70b-hf", 68'976'648'192},
                   {"Meta-Llama-3-8B", 8'030'261'248},
                   {"Meta-Llama-3-70B", 70'553'706'496},
                   {"Meta-Llama-3.1-405B", 405'853'388'800},
                   {"Llama-3.2-1B", 1'235'814'400},
                   {"Mistral-7B-v0.3", 7'248'023'552},
                   {"Mixtral-8x7B-v0.1", 46'702'792'704},
                   {"Mixtral-8x22B-v0.1", 140'620'634'112},
                   {"Qwen2.5-7B-Instruct", 7'615'616'512},
                   {"Qwen2.5-72B", 72'706'203'648},
                   {"Qwen3-8B", 8'190'735'360},
                   {"Qwen3-30B-A3B", 30'532'122'624},
                   {"Qwen3-235B-A22B", 235'093'634'560},
                   {"OLMoE-1B-7B-0924", 6'919'161'856},
                   {"DeepSeek-V2-Lite", 15'706'484'224},
                   {"Phi-3.5-MoE-instruct", 41'873'153'344},
                   {"AI21-Jamba-1.5-Mini", 51'570'323'328},
                   {"dbrx-base", 131'596'523'520}};
  for (const auto& row : published) {
    const ModelSpec model = read_model_file(product_root() / "models" / (std::string(row.file) + ".json"));
    EXPECT_EQ(count_parameters(model).total, row.total) << row.file;
  }
}

TEST(ReadModel, OlderFamiliesHaveExactlyTheirPublishedParameters) {
  // BLOOM arXiv:2211.05100; GPT-NeoX-20B arXiv:2204.06745; Mistral-7B-v0.1 (a window in every layer).
  EXPECT_EQ(count_parameters(read(ordered_json::parse(R"({"model_type": "bloom", "hidden_size": 14336, "n_layer": 70,
              "num_attention_heads": 112, "vocab_size": 250880})")))
                .total,
            176'247'271'424);
  EXPECT_EQ(count_parameters(read(ordered_json::parse(R"({"model_type": "gpt_neox", "hidden_size": 6144,
              "intermediate_size": 24576, "num_hidden_layers": 44, "num_attention_heads": 64, "vocab_size": 50432})")))
                .total,
            20'554'567'680);
  EXPECT_EQ(count_parameters(read(ordered_json::parse(R"({"model_type": "mistral", "hidden_size": 4096,
              "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
              "sliding_window": 4096, "max_position_embeddings": 32768, "vocab_size": 32000})")))
                .total,
            7'241'732'096);
}

TEST(Models, EveryShippedFileReadsWithoutWarningAndNamesItsSource) {
  int files = 0;
  for (const auto& entry : fs::directory_iterator(product_root() / "models")) {
    SCOPED_TRACE(entry.path());
    ASSERT_EQ(entry.path().extension(), ".json");
    std::vector<std::string> warnings;
    ModelSpec model;
    ASSERT_NO_THROW(model = read_model_file(entry.path(), &warnings));
    EXPECT_TRUE(warnings.empty());
    EXPECT_FALSE(model.source.empty());
    EXPECT_EQ(model.name, entry.path().stem().string());
    const ParameterCount count = count_parameters(model);
    EXPECT_EQ(count.total, count.attention + count.dense_ffn + count.experts + count.shared + count.router +
                               count.norms + count.embedding + count.head + count.other);
    EXPECT_LE(count.active, count.total);
    ++files;
  }
  EXPECT_GE(files, 28);
}

TEST(Models, AreFoundByFileNameAliasAndWithAnyMaker) {
  const auto stem = [](std::string_view name) {
    const auto path = find_model_by_name(name);
    return path ? path->stem().string() : "";
  };
  EXPECT_EQ(stem("DeepSeek-V3"), "DeepSeek-V3");
  EXPECT_EQ(stem("deepseek-ai/deepseek-v3"), "DeepSeek-V3");
  EXPECT_EQ(stem("mistralai/Mixtral-8x7B-Instruct-v0.1"), "Mixtral-8x7B-v0.1");
  EXPECT_EQ(stem("Mixtral-8x7B"), "Mixtral-8x7B-v0.1");
  EXPECT_EQ(stem("somebody/Mixtral-8x7B-Instruct-v0.1"), "Mixtral-8x7B-v0.1");
  EXPECT_EQ(stem("no-such-model"), "");
}

TEST(SharedModels, EveryNameOfTheAliasTableThatHasAShippedFileIsFound) {
  const fs::path table = fs::path(MOESIM_SHARED_DATA) / "models" / "aliases.csv";
  if (!fs::exists(table)) GTEST_SKIP() << "no " << table;
  const ModelCatalog catalog = read_model_catalog(product_root() / "models");
  for (const auto& row : read_csv(table)) {
    if (!fs::exists(product_root() / "models" / row.at("config"))) continue;
    const auto path = find_model(catalog, row.at("name"));
    ASSERT_TRUE(path.has_value()) << row.at("name");
    EXPECT_EQ(path->filename().string(), row.at("config"));
  }
}

// --- what the shape keys decide -------------------------------------------------------------------------------------

ordered_json small_dense() {
  return ordered_json::parse(R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 100})");
}

ordered_json small_moe() {
  return ordered_json::parse(R"({"model_type": "deepseek_v3", "hidden_size": 64, "intermediate_size": 128,
    "moe_intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 8, "q_lora_rank": 24,
    "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 16,
    "n_shared_experts": 2, "num_experts_per_tok": 4, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2,
    "topk_method": "noaux_tc", "scoring_func": "sigmoid", "vocab_size": 100, "num_nextn_predict_layers": 1,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}})");
}

TEST(ReadModel, ADenseModelHasTheParametersOfItsMatrices) {
  const ParameterCount count = count_parameters(read(small_dense()));
  EXPECT_EQ(count.attention, 4 * (64 * 64 + 2 * 64 * 16 + 64 * 64));  // q, k and v, o; head size 64 / 8
  EXPECT_EQ(count.dense_ffn, 4 * 3 * 64 * 128);
  EXPECT_EQ(count.norms, 4 * 2 * 64);
  EXPECT_EQ(count.embedding, 6400);
  EXPECT_EQ(count.head, 6400);
  EXPECT_EQ(count.other, 64);
}

TEST(ReadModel, RouterKeysBecomeGroupsScoresAndSharedWidth) {
  const ModelSpec model = read(small_moe());
  EXPECT_EQ(model.moe.groups, 4);
  EXPECT_EQ(model.moe.top_groups, 2);
  EXPECT_EQ(model.moe.group_score_experts, 2);  // noaux_tc scores a group by its two best
  EXPECT_TRUE(model.moe.sigmoid_scores);
  EXPECT_EQ(model.moe.shared_width, 2 * 32);
  EXPECT_EQ(model.moe.router_weights, 64 * 16 + 16);
  EXPECT_FALSE(model.layers[0].moe);
  EXPECT_TRUE(model.layers[1].moe);
  EXPECT_EQ(model.mtp_layers, 1);
  ordered_json off = small_moe();
  off["n_group"] = 1;
  EXPECT_EQ(read(off).moe.groups, 1);
  off = small_moe();
  off["topk_method"] = "group_limited_greedy";
  off["scoring_func"] = "softmax";
  EXPECT_EQ(read(off).moe.group_score_experts, 1);
  EXPECT_FALSE(read(off).moe.sigmoid_scores);
}

TEST(ReadModel, ADecoderInTextConfigIsReadLikeAFlatOne) {
  ordered_json nested;
  nested["model_type"] = "some_vision_model";
  nested["tie_word_embeddings"] = true;
  nested["text_config"] = small_dense();
  const ModelSpec model = read(nested);
  EXPECT_TRUE(model.tied_embeddings);
  EXPECT_EQ(count_parameters(model).attention, count_parameters(read(small_dense())).attention);
}

TEST(ReadModel, WindowsFollowLayerTypesPatternsAndFlags) {
  const auto kinds = [](const ordered_json& json) {
    std::string letters;
    const ModelSpec model = read(json);
    for (const LayerSpec& layer : model.layers) {
      letters += "fwcllm"[static_cast<int>(model.mixers[static_cast<std::size_t>(layer.mixer)].kind)];
    }
    return letters;
  };
  ordered_json json = small_dense();
  json["sliding_window"] = 16;
  EXPECT_EQ(kinds(json), "wwww");  // Mistral 7B v0.1
  json["use_sliding_window"] = false;
  EXPECT_EQ(kinds(json), "ffff");  // Qwen2
  json["use_sliding_window"] = true;
  json["max_window_layers"] = 3;
  EXPECT_EQ(kinds(json), "fffw");
  json = small_dense();
  json["sliding_window"] = 16;
  json["max_position_embeddings"] = 16;
  EXPECT_EQ(kinds(json), "ffff");  // no sequence reaches the limit
  json = small_dense();
  json["sliding_window"] = 16;
  json["sliding_window_pattern"] = 2;
  EXPECT_EQ(kinds(json), "wfwf");
  json["layer_types"] = {"full_attention", "sliding_attention", "full_attention", "full_attention"};
  EXPECT_EQ(kinds(json), "fwff");
  json = small_dense();
  json["attention_chunk_size"] = 16;
  EXPECT_EQ(kinds(json), "cccf");  // Llama 4: every fourth layer sees everything
}

TEST(ReadModel, QuantizationConfigGivesTheFormatOfEachPart) {
  const auto formats = [](const char* quantization) {
    ordered_json json = small_moe();
    json["quantization_config"] = ordered_json::parse(quantization);
    const WeightFormats f = read(json).formats;
    std::string names;
    for (const DataType type : {f.attention, f.dense_ffn, f.experts, f.shared, f.router, f.embedding, f.head}) {
      names += std::string(name(type)) + ' ';
    }
    return names;
  };
  EXPECT_EQ(formats(R"({"quant_method": "fp8", "weight_block_size": [128, 128]})"),
            "fp8_block fp8_block fp8_block fp8_block bf16 bf16 bf16 ");
  EXPECT_EQ(formats(R"({"quant_method": "fp8"})"), "fp8 fp8 fp8 fp8 bf16 bf16 bf16 ");
  // gpt-oss: the experts only.
  EXPECT_EQ(formats(R"({"quant_method": "mxfp4", "modules_to_not_convert":
                        ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]})"),
            "bf16 bf16 mxfp4 bf16 bf16 bf16 bf16 ");
  EXPECT_EQ(formats(R"({"quant_method": "awq", "bits": 4, "group_size": 128, "modules_to_not_convert": ["gate"]})"),
            "int4 int4 int4 int4 bf16 bf16 bf16 ");
  EXPECT_EQ(formats(R"({"quant_method": "gptq", "bits": 8})"), "int8 int8 int8 int8 bf16 bf16 bf16 ");
  // Kimi-K2.5: 4-bit experts, all else in bf16.
  EXPECT_EQ(formats(R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"targets": ["Linear"],
                        "weights": {"num_bits": 4, "type": "int", "group_size": 32}}}, "ignore": ["lm_head",
                        "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]})"),
            "bf16 bf16 int4 bf16 bf16 bf16 bf16 ");
  EXPECT_EQ(formats(R"({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["*.self_attn*", "lm_head"]})"),
            "bf16 nvfp4 nvfp4 nvfp4 bf16 bf16 bf16 ");
}

// --- messages -------------------------------------------------------------------------------------------------------

TEST(ReadModel, WhatCannotBeDecidedNamesTheKey) {
  const auto without = [](ordered_json json, const char* key) {
    json.erase(key);
    return error_of(json);
  };
  const auto with = [](ordered_json json, const char* key, const ordered_json& value) {
    json[key] = value;
    return error_of(json);
  };
  EXPECT_EQ(without(small_dense(), "hidden_size"),
            "m.json: /hidden_size: missing; the shapes need it or n_embd or d_model");
  EXPECT_EQ(with(small_dense(), "num_attention_heads", 0),
            "m.json: /num_attention_heads: expected a whole number from 1 to 16384, got 0");
  EXPECT_EQ(with(small_dense(), "hidden_size", 60),
            "m.json: /head_dim: missing, and hidden size 60 is not divisible by 8 heads");
  EXPECT_EQ(with(small_dense(), "num_key_value_heads", 3),
            "m.json: /num_key_value_heads: 8 query heads are not a multiple of 3 key-value heads");
  EXPECT_EQ(with(small_dense(), "layer_types", {"full_attention"}),
            "m.json: /layer_types: has 1 entries; expected 4, one a layer");
  EXPECT_EQ(with(small_dense(), "compress_ratios", {4, 128}),
            "m.json: /compress_ratios: alters the shapes in a way that is not modelled");
  EXPECT_EQ(with(small_moe(), "num_experts_per_tok", 17),
            "m.json: /num_experts_per_tok: 17 experts a token, but there are 16");
  EXPECT_EQ(without(small_moe(), "num_experts_per_tok"), "m.json: /num_experts_per_tok: missing; 16 experts need it");
  EXPECT_EQ(with(small_moe(), "n_group", 3), "m.json: /n_group: 16 experts are not divisible by 3 groups");
  EXPECT_EQ(without(small_moe(), "v_head_dim"), "m.json: /v_head_dim: missing; the shapes need it");
  EXPECT_EQ(with(small_moe(), "quantization_config", {{"quant_method", "magic"}}),
            "m.json: /quantization_config/quant_method: unknown method; expected fp8, mxfp4, awq, gptq, "
            "compressed-tensors, modelopt or bitsandbytes");
  EXPECT_EQ(with(small_dense(), "hybrid_override_pattern", "MEM"),
            "m.json: /hybrid_override_pattern: has 3 blocks; expected 4, as num_hidden_layers says");
  EXPECT_EQ(with(small_dense(), "linear_num_key_heads", 4),
            "m.json: /layer_types: missing; with linear_num_key_heads it or full_attention_interval tells the layers "
            "apart");
  EXPECT_EQ(with(small_dense(), "model_type", "never_heard_of"),
            "m.json: /model_type: unknown family, and without hidden_act the FFN cannot be decided");
  EXPECT_EQ(error_of(ordered_json::array()), "m.json: expected a model's config.json, an object");
}

TEST(ReadModel, AnUnknownFamilyOfLlamasFormIsReadWithAWarning) {
  ordered_json json = small_dense();
  json["model_type"] = "never_heard_of";
  json["hidden_act"] = "silu";
  std::vector<std::string> warnings;
  const ModelSpec model = read_model(JsonReader(json, "m.json"), &warnings);
  EXPECT_EQ(count_parameters(model).total, count_parameters(read(small_dense())).total);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("never_heard_of"), std::string::npos);
}

TEST(ReadModel, HugeShapesAreRefusedBeforeTheyOverflow) {
  ordered_json json = small_moe();
  json["hidden_size"] = 4'000'000;
  json["moe_intermediate_size"] = 4'000'000;
  json["n_routed_experts"] = 131'072;
  EXPECT_NE(error_of(json).find("parameters; expected at most 1e+15"), std::string::npos) << error_of(json);
}

/// Every number in `json`, replaced in turn by each of the values, is read or refused by one line with code 4.
void replace_every_number(const ordered_json& original, ordered_json& json, const ordered_json::json_pointer& at) {
  const ordered_json value = original.at(at);
  if (value.is_structured()) {
    for (const auto& item : value.items()) replace_every_number(original, json, at / item.key());
    return;
  }
  if (!value.is_number()) return;
  for (const ordered_json& strange :
       {ordered_json(-1), ordered_json(0), ordered_json(1), ordered_json(7), ordered_json(1e30),
        ordered_json(INT64_MAX), ordered_json(UINT64_MAX), ordered_json(0.5), ordered_json("x"), ordered_json(nullptr),
        ordered_json(true), ordered_json::array(), ordered_json::object()}) {
    json.at(at) = strange;
    try {
      const ModelSpec model = read(json);
      EXPECT_GT(count_parameters(model).total, 0) << at.to_string();
      EXPECT_GE(cache_bytes(model, 1000, DataType::bf16).total().value, 0) << at.to_string();
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.exit_code(), 4);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      EXPECT_LT(std::string(error.what()).size(), 400u) << error.what();
    }
  }
  json.at(at) = value;
}

TEST(ReadModel, StrangeValuesAreReadOrRefusedInOneLine) {
  for (const char* file : {"DeepSeek-V3.2", "Qwen3-Next-80B-A3B-Instruct", "AI21-Jamba-1.5-Mini", "switch-base-128",
                           "dbrx-base", "gpt3-5b", "NVIDIA-Nemotron-3-Nano-30B-A3B", "gemma-4-26B-A4B"}) {
    SCOPED_TRACE(file);
    const ordered_json original = parse_json_file(product_root() / "models" / (std::string(file) + ".json"));
    ordered_json json = original;
    replace_every_number(original, json, ordered_json::json_pointer());
  }
}

TEST(ReadModel, EveryKeyMayBeAbsentWithoutACrash) {
  for (const auto& entry : fs::directory_iterator(product_root() / "models")) {
    SCOPED_TRACE(entry.path());
    const ordered_json original = parse_json_file(entry.path());
    for (const auto& item : original.items()) {
      ordered_json json = original;
      json.erase(item.key());
      try {
        EXPECT_GT(count_parameters(read(json)).total, 0);
      } catch (const ConfigError& error) {
        EXPECT_EQ(error.exit_code(), 4);
      }
    }
  }
}

TEST(ReadModel, EveryPrefixOfAFileIsAnError) {
  const fs::path path = fs::temp_directory_path() / ("moesim_prefix_" + std::to_string(::getpid()) + ".json");
  const std::string text = small_moe().dump(1);
  for (std::size_t n = 0; n < text.size(); ++n) {
    std::ofstream(path, std::ios::binary) << text.substr(0, n);
    EXPECT_THROW(read_model_file(path), ConfigError) << n;
  }
  fs::remove(path);
}

}  // namespace
}  // namespace moesim
