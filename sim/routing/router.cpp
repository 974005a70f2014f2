#include "routing/router.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "core/random.h"
#include "routing/count_law.h"
#include "routing/gate.h"
#include "routing/gate_moments.h"
#include "routing/popularity.h"

namespace moesim {

namespace {

/// Up to this many tokens are drawn one by one: as fast, and exact.
constexpr std::int64_t exact_tokens = 24;
/// With at most 16 experts the counts of a small batch are too few for normals.
constexpr std::int64_t exact_tokens_of_few_experts = 64;

/// The law of one layer (or of all, where only the order differs). Experts are in positions: group after group, most
/// popular first in each.
struct Law {
  Gate gate;
  CountLaw counts;
  std::vector<double> inclusion;
};

struct Layer {
  std::shared_ptr<const Law> law;
  std::vector<std::uint16_t> ids;  ///< position -> expert id
  std::vector<double> inclusion;   ///< by expert id
  Stream draws, sources;
};

/// With groups the law of a layer depends on which experts share a group and takes a tenth of a second to find. So the
/// layers share this many popularities and splits into groups; each layer permutes the groups and the ids in each.
constexpr std::int32_t compositions = 8;

/// Ids by popularity rank for a layer with groups: the ranks in each group are those of the composition, the order of
/// the groups and of the ids in each follow `order`, the layer's own permutation.
std::vector<std::uint16_t> permuted_composition(std::int64_t experts, std::int64_t groups, const Stream& composition,
                                                std::span<const std::uint16_t> order) {
  const auto size = static_cast<std::size_t>(experts / groups);
  const std::vector<std::uint16_t> slots = random_permutation(experts, composition);
  // The layer's random order of all ids gives one of the groups (by first appearance) and of the ids in each.
  std::vector<std::size_t> place(static_cast<std::size_t>(groups), SIZE_MAX);
  std::vector<std::vector<std::uint16_t>> members;
  for (const std::uint16_t id : order) {
    std::size_t& group = place[id / size];
    if (group == SIZE_MAX) {
      group = members.size();
      members.emplace_back();
    }
    members[group].push_back(id);
  }
  std::vector<std::uint16_t> ids(slots.size());
  for (std::size_t r = 0; r < slots.size(); ++r) ids[r] = members[slots[r] / size][slots[r] % size];
  return ids;
}

/// Expert ids group after group, by falling weight in each, the groups by their heaviest weights, so that layers with
/// one composition agree. Ties keep the random `order`: neighbours in the running sums of a count law are then not
/// neighbours in id, which share a rank.
std::vector<std::uint16_t> positions_by_weight(std::span<const double> weights, std::int64_t groups,
                                               std::vector<std::uint16_t> order) {
  const auto size = weights.size() / static_cast<std::size_t>(groups);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint16_t a, std::uint16_t b) { return weights[a] > weights[b]; });
  std::vector<std::vector<std::uint16_t>> members(static_cast<std::size_t>(groups));
  for (const std::uint16_t id : order) members[id / size].push_back(id);
  std::stable_sort(members.begin(), members.end(), [&](const auto& a, const auto& b) {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [&](std::uint16_t x, std::uint16_t y) { return weights[x] > weights[y]; });
  });
  std::vector<std::uint16_t> ids;
  for (const auto& group : members) ids.insert(ids.end(), group.begin(), group.end());
  return ids;
}

}  // namespace

struct Router::State {
  MoeSpec moe;
  bool grouped = false;
  std::int64_t exact = 0;
  std::vector<Layer> layers;

  std::shared_ptr<const Law> make_law(std::span<const double> weights, std::uint64_t layer) const {
    const CountLawInput moments = grouped ? grouped_moments(moe, weights, layer) : race_moments(weights, moe.top_k);
    return std::make_shared<const Law>(Law{Gate(moe, weights), CountLaw(moments), moments.inclusion});
  }

  const Layer& layer(std::int32_t l) const {
    MOESIM_CHECK(l >= 0 && static_cast<std::size_t>(l) < layers.size(), "layer {} of {}", l, layers.size());
    return layers[static_cast<std::size_t>(l)];
  }

  /// Counts of one batch from the next words; `counts` is cleared here.
  void draw(const Layer& from, WordSource& words, std::int64_t tokens, std::span<std::uint32_t> counts) const {
    if (tokens > exact) {
      from.law->counts.draw(words, tokens, from.ids, counts.data());
      return;
    }
    std::fill(counts.begin(), counts.end(), 0u);
    std::array<std::uint16_t, 64> positions;
    for (std::int64_t t = 0; t < tokens; ++t) {
      from.law->gate.draw(words, 1, positions.data());
      for (std::int64_t i = 0; i < moe.top_k; ++i) ++counts[from.ids[positions[static_cast<std::size_t>(i)]]];
    }
  }
};

Router::Router(const MoeSpec& moe, std::int32_t layers, const RoutingSpec& spec, std::uint64_t seed)
    : state_(std::make_unique<State>()) {
  MOESIM_CHECK(moe.experts >= 1 && moe.top_k >= 1 && moe.top_k <= moe.experts, "top {} of {} experts", moe.top_k,
               moe.experts);
  State& state = *state_;
  state.moe = moe;
  state.grouped = moe.groups > 1 && moe.top_groups < moe.groups;
  if (!state.grouped) state.moe.groups = state.moe.top_groups = 1;
  state.exact = moe.experts <= 16 ? exact_tokens_of_few_experts : exact_tokens;
  const std::int64_t groups = state.moe.groups;
  const bool from_file = spec.popularity.kind == PopularityKind::file;
  if (from_file)
    MOESIM_CHECK(spec.popularity.table.size() == 1 || spec.popularity.table.size() == static_cast<std::size_t>(layers),
                 "{} rows of popularity for {} layers", spec.popularity.table.size(), layers);
  std::vector<std::pair<std::vector<double>, std::shared_ptr<const Law>>> laws;
  std::vector<double> file_weights;
  for (std::int32_t l = 0; l < layers; ++l) {
    const std::string name = fmt::format("routing/layer/{}", l);
    Layer layer{nullptr, {}, {}, Stream(seed, name), Stream(seed, name + "/sources")};
    std::vector<double> weights(static_cast<std::size_t>(moe.experts));
    std::vector<std::uint16_t> order = random_permutation(moe.experts, Stream(seed, name + "/permutation"));
    if (from_file) {
      const std::size_t row = spec.popularity.table.size() == 1 ? 0 : static_cast<std::size_t>(l);
      const std::vector<double>& values = spec.popularity.table[row];
      MOESIM_CHECK(values.size() == weights.size(), "{} popularities for {} experts", values.size(), weights.size());
      if (l == 0 || row > 0) {
        const std::vector<double> target = capped_inclusion(values, moe.top_k);
        file_weights = state.grouped ? grouped_weights_for_inclusion(state.moe, target, static_cast<std::uint64_t>(l))
                                     : weights_for_inclusion(target, moe.top_k);
      }
      weights = file_weights;
    } else {
      const std::string source = state.grouped ? fmt::format("routing/composition/{}", l % compositions) : name;
      const std::vector<double> ranked =
          popularity_weights(spec.popularity, moe.experts, Stream(seed, source + "/popularity"));
      if (state.grouped) order = permuted_composition(moe.experts, groups, Stream(seed, source), order);
      for (std::size_t r = 0; r < ranked.size(); ++r) weights[order[r]] = ranked[r];
    }
    layer.ids = positions_by_weight(weights, groups, std::move(order));
    // Layers whose positions have the same weights have the same law.
    std::vector<double> by_position;
    for (const std::uint16_t e : layer.ids) by_position.push_back(weights[e]);
    const auto known =
        std::find_if(laws.begin(), laws.end(), [&](const auto& law) { return law.first == by_position; });
    if (known != laws.end()) {
      layer.law = known->second;
    } else {
      layer.law = state.make_law(by_position, laws.size());
      laws.emplace_back(by_position, layer.law);
    }
    layer.inclusion.resize(weights.size());
    for (std::size_t p = 0; p < weights.size(); ++p) layer.inclusion[layer.ids[p]] = layer.law->inclusion[p];
    state.layers.push_back(std::move(layer));
  }
}

Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

std::int32_t Router::layers() const {
  return static_cast<std::int32_t>(state_->layers.size());
}
std::int64_t Router::experts() const {
  return state_->moe.experts;
}
std::int64_t Router::top_k() const {
  return state_->moe.top_k;
}

std::span<const double> Router::inclusion(std::int32_t layer) const {
  return state_->layer(layer).inclusion;
}

void Router::draw_counts(std::int32_t layer, std::uint64_t step, std::int64_t tokens,
                         std::span<std::uint32_t> counts) const {
  const Layer& from = state_->layer(layer);
  MOESIM_CHECK(tokens >= 0 && counts.size() == from.ids.size(), "{} tokens, {} counts", tokens, counts.size());
  WordSource words(from.draws.substream(step));
  state_->draw(from, words, tokens, counts);
}

void Router::draw_matrix(std::int32_t layer, std::uint64_t step, std::span<const std::int64_t> tokens,
                         std::span<std::uint32_t> counts) const {
  const Layer& from = state_->layer(layer);
  const std::size_t experts = from.ids.size();
  MOESIM_CHECK(counts.size() == tokens.size() * experts, "{} counts for {} sources", counts.size(), tokens.size());
  WordSource words(from.sources.substream(step));
  for (std::size_t s = 0; s < tokens.size(); ++s)
    state_->draw(from, words, tokens[s], counts.subspan(s * experts, experts));
}

void Router::draw_tokens(std::int32_t layer, std::uint64_t step, std::int64_t tokens,
                         std::span<std::uint16_t> ids) const {
  const Layer& from = state_->layer(layer);
  MOESIM_CHECK(tokens >= 0 && ids.size() == static_cast<std::size_t>(tokens * state_->moe.top_k), "{} tokens, {} ids",
               tokens, ids.size());
  WordSource words(from.draws.substream(step));
  from.law->gate.draw(words, tokens, ids.data());
  for (std::uint16_t& id : ids) id = from.ids[id];
}

std::vector<double> Router::distinct_ratio(std::int32_t layer, std::span<const std::uint32_t> part_of,
                                           std::uint32_t parts) const {
  constexpr std::int64_t tokens = 4096;
  const Layer& from = state_->layer(layer);
  MOESIM_CHECK(part_of.size() == from.ids.size() && parts > 0, "{} experts in {} parts", part_of.size(), parts);
  const auto k = static_cast<std::size_t>(state_->moe.top_k);
  WordSource words(Stream(0, "routing/distinct sample").substream(static_cast<std::uint64_t>(layer)));
  std::vector<std::uint64_t> rows(parts, 0), reached(parts, 0);
  std::vector<std::int64_t> last(parts, -1);
  std::vector<std::uint16_t> positions(k);
  for (std::int64_t t = 0; t < tokens; ++t) {
    from.law->gate.draw(words, 1, positions.data());
    for (const std::uint16_t p : positions) {
      const std::uint32_t part = part_of[from.ids[p]];
      MOESIM_CHECK(part < parts, "part {} of {}", part, parts);
      ++rows[part];
      if (last[part] != t) ++reached[part];
      last[part] = t;
    }
  }
  // A part that the sample never reaches sends nothing twice.
  std::vector<double> ratio(parts, 1.0);
  for (std::size_t p = 0; p < parts; ++p)
    if (rows[p] > 0) ratio[p] = static_cast<double>(reached[p]) / static_cast<double>(rows[p]);
  return ratio;
}

}  // namespace moesim
