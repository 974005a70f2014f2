#pragma once
// Which number format each part of a model's weights is stored in, from `quantization_config`.

#include <cstdint>
#include <optional>

#include "config/json_reader.h"
#include "model/model_spec.h"

namespace moesim {

/// `base` is the format of `torch_dtype`, kept by every part that is not quantised: always the embedding and the
/// router, the rest unless a list of excluded modules names them. `layer` is a layer that stands for all (a MoE layer
/// of a MoE model): its module names are matched against the lists. An unknown method is an error.
WeightFormats read_weight_formats(const JsonReader& quantization, DataType base, std::int64_t layer);

/// The format that `torch_dtype` or `dtype` names.
DataType read_base_format(const JsonReader& value);

}  // namespace moesim
