#pragma once
// The shape keys of a model's config.json and the dimensions that every other reader needs.

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/json_reader.h"
#include "config/model_family.h"

namespace moesim {

// Upper limits of single values; with them no product of a few overflows 64 bits.
constexpr std::int64_t most_layers = 10'000;
constexpr std::int64_t most_experts = 1 << 17;
constexpr std::int64_t widest = 1 << 22;  ///< hidden and intermediate sizes, ranks
constexpr std::int64_t most_heads = 1 << 14;
constexpr std::int64_t widest_head = 1 << 14;
constexpr std::int64_t most_tokens = std::int64_t{1} << 40;
constexpr std::int64_t largest_vocabulary = 1 << 26;

using Keys = std::initializer_list<std::string_view>;

/// The keys of one config, looked up in the decoder's object and in the sub-objects that some families put shapes in. A
/// lookup takes the spellings of one meaning; the first that is given and not null counts.
class ShapeKeys {
 public:
  explicit ShapeKeys(const JsonReader& text);

  const JsonReader& text() const { return text_; }
  std::optional<JsonReader> find(Keys keys) const;
  std::optional<std::int64_t> maybe(Keys keys, std::int64_t low, std::int64_t high) const;
  /// A required count of at least 1; the error names the first key, and the others as spellings.
  std::int64_t positive(Keys keys, std::int64_t high) const;
  bool flag(std::string_view key, bool absent) const;
  bool given(std::string_view key) const { return find({key}).has_value(); }
  [[noreturn]] void missing(std::string_view key, const std::string& message) const;

 private:
  JsonReader text_;
  std::vector<JsonReader> sources_;
};

struct Shapes {
  const ShapeKeys& keys;
  ModelFamily family;
  std::int64_t hidden = 0, layers = 0, heads = 0, kv_heads = 0;
  std::int64_t head_dim = 0;       ///< 0 with latent attention, which has its own
  std::int64_t max_positions = 0;  ///< 0: not given
};
Shapes read_shapes(const ShapeKeys& keys, const ModelFamily& family);

/// The entries of a list with one entry a layer; fails when it has another length.
std::vector<JsonReader> per_layer(const JsonReader& list, std::int64_t layers);

}  // namespace moesim
