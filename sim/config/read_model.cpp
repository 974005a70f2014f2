#include "config/read_model.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/model_family.h"
#include "config/model_shapes.h"
#include "config/read_experts.h"
#include "config/read_mixers.h"
#include "config/read_weight_formats.h"

namespace moesim {
namespace {

using Count = std::int64_t;

constexpr double most_parameters = 1e15;

/// Keys that alter shapes in ways that are not read yet, unless they are null, false, 0 or empty.
constexpr std::string_view refused_keys[] = {"compress_ratios",
                                             "block_configs",
                                             "cross_attention_layers",
                                             "altup_num_inputs",
                                             "laurel_rank",
                                             "moe_latent_size",
                                             "zero_expert_num",
                                             "num_kv_shared_layers",
                                             "use_double_wide_mlp",
                                             "linear_attn_config",
                                             "layers_block_type",
                                             "hidden_size_per_layer_input",
                                             "cla_share_factor",
                                             "use_cla",
                                             "moe_layer_start_index",
                                             "parallel_hybrid_block"};

/// Total in floating point, to refuse shapes whose integer products would overflow.
void check_size(const ModelSpec& model, const ShapeKeys& keys) {
  double total = static_cast<double>(model.embedding_weights) + static_cast<double>(model.head_weights);
  for (const LayerSpec& layer : model.layers) {
    total += static_cast<double>(model.mixers[static_cast<std::size_t>(layer.mixer)].weights) +
             static_cast<double>(layer.dense_weights);
    if (layer.moe) {
      total += static_cast<double>(model.moe.experts) * static_cast<double>(model.moe.expert_weights) +
               static_cast<double>(model.moe.shared_weights);
    }
  }
  if (total > most_parameters) {
    keys.text().fail(fmt::format("the shapes give {:.3g} parameters; expected at most {:.0g}", total, most_parameters));
  }
}

/// `tie_word_embeddings` of the outer object goes before that of the decoder.
bool read_tied(const JsonReader& root, const ShapeKeys& keys, bool absent) {
  if (const auto tied = root.find("tie_word_embeddings")) return tied->boolean();
  return keys.flag("tie_word_embeddings", absent);
}

void read_embeddings(const JsonReader& root, const Shapes& s, ModelSpec& model) {
  const ShapeKeys& keys = s.keys;
  model.vocabulary = keys.positive({"vocab_size"}, largest_vocabulary);
  model.tied_embeddings = read_tied(root, keys, s.family.tied_embeddings);
  model.embedding_weights = model.vocabulary * s.hidden;
  if (!model.tied_embeddings) {
    model.head_weights = model.embedding_weights;
    if (keys.flag("lm_head_bias", s.family.head_bias)) model.head_weights += model.vocabulary;
  }
  model.other_weights = (s.family.final_norms + s.family.other_hidden_vectors) * s.hidden;
  if (s.family.extra_positions >= 0 || keys.flag("learned_pos_emb", false)) {
    if (s.max_positions == 0) keys.missing("max_position_embeddings", "missing; learned positions need it");
    if (s.max_positions > (1 << 24)) keys.text().fail("learned positions for more than 16 million tokens");
    model.other_weights += (s.max_positions + std::max<Count>(0, s.family.extra_positions)) * s.hidden;
  }
}

void read_decoder(const Shapes& s, ModelSpec& model) {
  const ShapeKeys& keys = s.keys;
  const auto plans = read_layer_plans(s);
  const bool by_pattern = keys.given("hybrid_override_pattern");
  model.moe = read_moe(s);
  const auto moe_layers = by_pattern ? std::vector<bool>() : read_moe_layers(s);
  const bool residual = keys.flag("parallel_attn_mlp_res", false);  // Arctic: a dense FFN beside the experts
  const bool beside = keys.flag("enable_moe_block", false);         // Gemma 4: the same
  const bool layer_scalar = s.family.scaled_router;
  std::vector<LayerPlan> kinds;  // of model.mixers
  for (std::size_t i = 0; i < plans.size(); ++i) {
    LayerPlan kind{.kind = plans[i].kind, .indexed = plans[i].indexed};
    auto known = std::ranges::find(kinds, kind);
    if (known == kinds.end()) {
      model.mixers.push_back(read_mixer(s, kind));
      known = kinds.insert(kinds.end(), kind);
    }
    LayerSpec layer{.mixer = static_cast<std::int32_t>(known - kinds.begin())};
    const bool wants_experts = by_pattern ? plans[i].moe.value_or(false) : static_cast<bool>(moe_layers[i]);
    layer.moe = wants_experts && model.moe.experts > 0;
    if (by_pattern && wants_experts && !layer.moe)
      keys.missing("n_routed_experts", "missing; the pattern has expert layers");
    layer.dense_gated = s.family.gated_ffn;
    if (!layer.moe && plans[i].ffn) {
      add_dense_ffn(s,
                    dense_width(s, {"intermediate_size_mlp", "dense_intermediate_size", "intermediate_size",
                                    "ffn_hidden_size", "n_inner", "ffn_dim"}),
                    layer);
    } else if (layer.moe && beside) {
      add_dense_ffn(s, dense_width(s, {"intermediate_size"}), layer);
    } else if (layer.moe && residual) {
      add_dense_ffn(s, s.hidden, layer);
    }
    layer.norm_weights = s.hidden * (plans[i].norms > 0 ? plans[i].norms : s.family.norms);
    if (layer.moe) layer.norm_weights += s.hidden * (s.family.moe_norms + (residual ? 2 : 0));
    if (layer_scalar) layer.norm_weights += 1;
    model.layers.push_back(layer);
  }
  if (model.moe.experts > 0 && std::ranges::none_of(model.layers, &LayerSpec::moe)) {
    keys.find({"n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"})
        ->fail("experts are given, but the keys that place them leave no layer with any");
  }
}

/// Draft layers for multi-token prediction: a layer like the last one, two more norms and the projection of
/// [hidden; embedding]. [arXiv:2412.19437 section 2.2]
void read_mtp(const Shapes& s, ModelSpec& model) {
  const auto layers = s.keys.maybe({"num_nextn_predict_layers", "mtp_num_hidden_layers"}, 0, 64);
  if (!layers || *layers == 0) return;
  model.mtp_layers = *layers;
  const LayerSpec& last = model.layers.back();
  const MixerSpec& mixer = model.mixers[static_cast<std::size_t>(last.mixer)];
  Count weights = mixer.weights + last.dense_weights + last.norm_weights + 2 * s.hidden * s.hidden + 3 * s.hidden;
  if (last.moe)
    weights += model.moe.experts * model.moe.expert_weights + model.moe.shared_weights + model.moe.router_weights;
  model.mtp_weights = *layers * weights;
}

/// T5's form, whose sparse layers are Switch layers. [arXiv:2101.03961; transformers models/switch_transformers]
void read_encoder_decoder(const JsonReader& root, const ShapeKeys& keys, ModelSpec& model) {
  model.hidden = keys.positive({"d_model"}, widest);
  const Count heads = keys.positive({"num_heads"}, most_heads), head = keys.positive({"d_kv"}, widest_head);
  const Count width = keys.positive({"d_ff"}, widest);
  const bool gated = keys.flag("is_gated_act", false);
  const Count encoders = keys.positive({"num_layers"}, most_layers);
  const Count decoders = keys.maybe({"num_decoder_layers"}, 1, most_layers).value_or(encoders);
  const Count buckets = keys.maybe({"relative_attention_num_buckets"}, 1, 1 << 16).value_or(32);
  const Count matrices = 4 * model.hidden * heads * head;
  MixerSpec self{.query_heads = heads,
                 .kv_heads = heads,
                 .key_dim = head,
                 .value_dim = head,
                 .weights = matrices,
                 .matrix_weights = matrices};
  MixerSpec crossed = self;  // a decoder layer also attends to the encoder's output
  crossed.weights = crossed.matrix_weights = 2 * matrices;
  model.mixers = {self, crossed};
  model.encoder_layers = encoders;
  if (const auto experts = keys.find({"num_experts"})) {
    MoeSpec& moe = model.moe;
    moe.experts = experts->integer_in(1, most_experts);
    const auto chosen = keys.find({"num_selected_experts"});
    moe.top_k = chosen ? chosen->integer_in(1, most_experts) : 1;
    if (moe.top_k > moe.experts)
      chosen->fail(fmt::format("{} experts a token, but there are {}", moe.top_k, moe.experts));
    moe.width = width;
    moe.gated = gated;
    moe.expert_weights = ffn_matrices(gated, model.hidden, width);
    moe.router_weights = model.hidden * moe.experts;
  }
  const auto add_side = [&](Count layers, std::int32_t mixer, Count norms, std::string_view sparse_key) {
    Count sparse = 0;
    if (model.moe.experts > 0) {
      if (!keys.given(sparse_key)) keys.missing(sparse_key, "missing; the experts need it");
      sparse = keys.find({sparse_key})->integer_in(0, layers);
    }
    const Count step = sparse > 0 ? layers / sparse : 0;
    for (Count i = 0; i < layers; ++i) {
      LayerSpec layer{.mixer = mixer, .moe = step > 0 && (step == 1 || i % step == 1), .dense_gated = gated};
      if (!layer.moe) {
        layer.dense_width = width;
        layer.dense_weights = ffn_matrices(gated, model.hidden, width);
      }
      layer.norm_weights = norms * model.hidden;
      model.layers.push_back(layer);
    }
    model.other_weights += model.hidden + buckets * heads;
  };
  add_side(encoders, 0, 2, "num_sparse_encoder_layers");
  add_side(decoders, 1, 3, "num_sparse_decoder_layers");
  if (model.moe.experts > 0 && std::ranges::none_of(model.layers, &LayerSpec::moe)) model.moe = {};
  model.vocabulary = keys.positive({"vocab_size"}, largest_vocabulary);
  model.tied_embeddings = read_tied(root, keys, true);
  model.embedding_weights = model.vocabulary * model.hidden;
  if (!model.tied_embeddings) model.head_weights = model.embedding_weights;
}

/// The row of the family, or Llama's form for one that is not known but whose activation says what its FFN is.
ModelFamily family_of(const JsonReader& root, const ShapeKeys& keys, std::vector<std::string>* warnings) {
  std::string type;
  if (const auto inner = keys.find({"model_type"})) type = inner->string();
  if (type.empty()) {
    if (const auto outer = root.find("model_type")) type = outer->string();
  }
  if (const auto known = find_family(type)) return *known;
  constexpr std::string_view gated[] = {"silu", "swish", "swiglu", "swigluoai"};
  const auto activation = keys.find({"hidden_act", "hidden_activation"});
  if (!activation) {
    keys.missing("model_type", type.empty() ? "missing; without it and hidden_act the FFN cannot be decided"
                                            : "unknown family, and without hidden_act the FFN cannot be decided");
  }
  const std::string name = activation->string();
  const bool is_gated = std::ranges::find(gated, name) != std::end(gated);
  if (!is_gated && name != "relu2") {
    activation->fail("in an unknown family only silu and relu2 say how many matrices the FFN has");
  }
  if (warnings != nullptr) {
    warnings->push_back(fmt::format(
        "{}: model_type \"{}\" is not known; assumes no biases and no query-key norms beyond what the keys say",
        root.file(), type.substr(0, 60)));
  }
  ModelFamily family;
  family.gated_ffn = is_gated;
  return family;
}

JsonReader decoder_of(const JsonReader& root) {
  for (const std::string_view key : {"text_config", "language_config", "llm_config"}) {
    if (auto nested = root.find(key)) {
      if (!nested->json().is_object()) nested->fail("expected an object");
      return *nested;
    }
  }
  return root;
}

bool is_set(const nlohmann::ordered_json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  return !value.empty();
}

void read_formats(const JsonReader& root, const ShapeKeys& keys, ModelSpec& model) {
  auto type = keys.find({"torch_dtype", "dtype"});
  if (!type) type = root.find("torch_dtype");
  if (!type) type = root.find("dtype");
  const DataType base = type ? read_base_format(*type) : DataType::bf16;
  model.activation_format = base == DataType::fp8 ? DataType::bf16 : base;
  model.formats = {base, base, base, base, base, base, base};
  for (MixerSpec& mixer : model.mixers) {
    mixer.state_format = model.activation_format;
    if (const auto state = keys.find({"mamba_ssm_dtype", "mamba_ssm_cache_dtype"}))
      mixer.state_format = read_base_format(*state);
  }
  auto quantization = keys.find({"quantization_config"});
  if (!quantization) quantization = root.find("quantization_config");
  if (quantization) {
    const auto is_moe = [](const LayerSpec& layer) { return layer.moe; };
    const auto last_moe = std::find_if(model.layers.rbegin(), model.layers.rend(), is_moe);
    const Count layer =
        model.is_moe() ? model.layers.rend() - last_moe - 1 : static_cast<Count>(model.layers.size() / 2);
    model.formats = read_weight_formats(*quantization, model.activation_format, layer);
  }
}

}  // namespace

ModelSpec read_model(const JsonReader& root, std::vector<std::string>* warnings) {
  if (!root.json().is_object()) root.fail("expected a model's config.json, an object");
  const JsonReader text = decoder_of(root);
  const ShapeKeys keys(text);
  for (const std::string_view key : refused_keys) {
    if (const auto value = keys.find({key}); value && is_set(value->json())) {
      value->fail("alters the shapes in a way that is not modelled");
    }
  }
  ModelSpec model;
  const auto name = root.find("name");
  model.name = name ? name->string() : std::filesystem::path(root.file()).stem().string();
  if (const auto source = root.find("source")) model.source = source->string();
  if (const auto aliases = root.find("aliases")) {
    for (const JsonReader& alias : aliases->elements()) model.aliases.push_back(alias.string());
  }
  if (keys.given("d_kv") && keys.given("d_ff")) {
    family_of(root, keys, warnings);
    read_encoder_decoder(root, keys, model);
    check_size(model, keys);
  } else {
    if (keys.flag("is_encoder_decoder", false)) {
      keys.find({"is_encoder_decoder"})->fail("an encoder-decoder is read only in T5's form (d_model, d_ff, d_kv)");
    }
    const Shapes shapes = read_shapes(keys, family_of(root, keys, warnings));
    model.hidden = shapes.hidden;
    model.max_positions = shapes.max_positions;
    read_embeddings(root, shapes, model);
    read_decoder(shapes, model);
    check_size(model, keys);
    read_mtp(shapes, model);
  }
  read_formats(root, keys, model);
  return model;
}

ModelSpec read_model_file(const std::filesystem::path& path, std::vector<std::string>* warnings) {
  const nlohmann::ordered_json json = parse_json_file(path);
  return read_model(JsonReader(json, input_name(path)), warnings);
}

}  // namespace moesim
