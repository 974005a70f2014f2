#pragma once
// How each layer of a model mixes its tokens, from the shape keys: which kind of mixer a layer has, and the dimensions
// and parameters of each kind.

#include <cstdint>
#include <optional>
#include <vector>

#include "config/model_shapes.h"
#include "model/model_spec.h"

namespace moesim {

/// What a layer does with its tokens, before equal ones are merged.
struct LayerPlan {
  MixerKind kind = MixerKind::full;
  bool indexed = false;                    ///< reads only the keys that an indexer chose
  bool ffn = true;                         ///< false: a mixer alone (hybrid patterns)
  std::optional<bool> moe = std::nullopt;  ///< decided by the pattern itself
  std::int64_t norms = 0;                  ///< blocks with a norm each, when the pattern decides
  bool operator==(const LayerPlan&) const = default;
};

/// One plan a layer. A hybrid pattern of single blocks gives fewer layers than `num_hidden_layers`.
std::vector<LayerPlan> read_layer_plans(const Shapes& shapes);

/// The mixer of every layer with this kind and indexer.
MixerSpec read_mixer(const Shapes& shapes, const LayerPlan& plan);

}  // namespace moesim
