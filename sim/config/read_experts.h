#pragma once
// The FFNs of a model from the shape keys: routed and shared experts, their router, and which layers have them.

#include <cstdint>
#include <vector>

#include "config/model_shapes.h"
#include "model/model_spec.h"

namespace moesim {

/// Parameters of an FFN: three matrices, or two.
std::int64_t ffn_matrices(bool gated, std::int64_t hidden, std::int64_t width);

/// `experts` is 0 for a dense model.
MoeSpec read_moe(const Shapes& shapes);

/// True for the layers with experts, in a model that has any.
std::vector<bool> read_moe_layers(const Shapes& shapes);

/// Width of the dense FFN from the first of the keys, or the family's ratio to the hidden size.
std::int64_t dense_width(const Shapes& shapes, Keys spellings);

/// Adds the dense FFN of `width` to a layer.
void add_dense_ffn(const Shapes& shapes, std::int64_t width, LayerSpec& layer);

}  // namespace moesim
