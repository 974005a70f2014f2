#include "moe_op.h"

#include <array>
#include <cmath>

#include "row_check.h"

namespace moesim::calibrate {

namespace {

enum Seed : std::uint64_t { of_scores = 1, of_tokens, of_up, of_down };

std::span<const float> as_span(const std::vector<float>& values) {
  return values;
}

}  // namespace

template <class Element>
MoeOp<Element>::MoeOp(Machine& machine, const MoeCase& shape, const std::string& kernel, std::uint64_t seed)
    : machine_(machine),
      shape_(shape),
      seed_(seed),
      local_(shape.experts / shape.ep),
      inter_(shape.inter / shape.tp),
      slots_(shape.tokens * shape.top_k),
      routed_(routing_of(shape, seed)),
      expected_(calibrate::permute(routed_.chosen, local_)),
      rows_(static_cast<std::size_t>(expected_.offsets.back())),
      hidden_(static_cast<std::size_t>(shape.hidden)),
      scores_(as_span(scores_of(routed_, seed + of_scores))),
      weights_(static_cast<std::size_t>(slots_)),
      scales_(as_span({1, 1, 1})),
      chosen_(static_cast<std::size_t>(slots_)),
      counts_(static_cast<std::size_t>(local_ * permutation_chunks(slots_))),
      total_(static_cast<std::size_t>(local_)),
      offsets_(static_cast<std::size_t>(local_) + 1),
      row_of_(static_cast<std::size_t>(slots_)),
      slot_of_(static_cast<std::size_t>(slots_)),
      tokens_(static_cast<std::size_t>(shape.tokens) * hidden_),
      halves_(rows_ * 2 * static_cast<std::size_t>(inter_)),
      activated_(rows_ * static_cast<std::size_t>(inter_)),
      results_(rows_ * hidden_),
      output_(static_cast<std::size_t>(shape.tokens) * hidden_),
      low_tokens_(kFp8 ? tokens_.size() : 0),
      permuted_(rows_ * hidden_),
      low_activated_(kFp8 ? activated_.size() : 0),
      up_weights_(static_cast<std::size_t>(local_) * 2 * static_cast<std::size_t>(inter_) * hidden_),
      down_weights_(static_cast<std::size_t>(local_) * static_cast<std::size_t>(inter_) * hidden_) {
  tokens_.randomize(seed + of_tokens);
  up_weights_.randomize(seed + of_up);
  down_weights_.randomize(seed + of_down);
  const Element* middle = nullptr;
  if constexpr (kFp8) {
    middle = low_activated_.data();
  } else {
    middle = activated_.data();
  }
  const float* const one = kFp8 ? scales_.data() + 2 : nullptr;
  up_ = grouped_start<Element>(machine, kernel,
                               {.rows = permuted_.data(),
                                .weights = up_weights_.data(),
                                .output = halves_.data(),
                                .offsets = offsets_.data(),
                                .row_scale = kFp8 ? scales_.data() : nullptr,
                                .weight_scale = one,
                                .experts = local_,
                                .n = 2 * inter_,
                                .k = shape.hidden},
                               expected_.offsets);
  down_ = grouped_start<Element>(machine, kernel,
                                 {.rows = middle,
                                  .weights = down_weights_.data(),
                                  .output = results_.data(),
                                  .offsets = offsets_.data(),
                                  .row_scale = kFp8 ? scales_.data() + 1 : nullptr,
                                  .weight_scale = one,
                                  .experts = local_,
                                  .n = shape.hidden,
                                  .k = inter_},
                                 expected_.offsets);
  CUDA_TRY(cudaDeviceSynchronize());
}

template <class Element>
void MoeOp<Element>::choose() {
  launch_choose_experts(scores_.data(), chosen_.data(), weights_.data(), shape_.tokens, shape_.experts, shape_.top_k,
                        machine_.stream());
}
template <class Element>
void MoeOp<Element>::permute() {
  launch_permute(chosen_.data(), places(), slots_, local_, machine_.stream());
}
template <class Element>
void MoeOp<Element>::quantize_in() {
  if constexpr (kFp8) {
    const auto size = static_cast<long long>(tokens_.size());
    launch_compute_scale(tokens_.data(), nullptr, 0, size, scales_.data(), machine_.stream());
    launch_quantize(tokens_.data(), nullptr, 0, size, scales_.data(), low_tokens_.data(), machine_.stream());
  }
}
template <class Element>
void MoeOp<Element>::gather() {
  const void* const from = kFp8 ? static_cast<const void*>(low_tokens_.data()) : tokens_.data();
  launch_gather(from, slot_of_.data(), rows_end(), permuted_.data(), shape_.top_k,
                shape_.hidden * static_cast<int>(sizeof(Element)), machine_.stream());
}
template <class Element>
void MoeOp<Element>::activate() {
  launch_swiglu(halves_.data(), rows_end(), activated_.data(), inter_, machine_.stream());
}
template <class Element>
void MoeOp<Element>::quantize_mid() {
  if constexpr (kFp8) {
    launch_compute_scale(activated_.data(), rows_end(), inter_, 0, scales_.data() + 1, machine_.stream());
    launch_quantize(activated_.data(), rows_end(), inter_, 0, scales_.data() + 1, low_activated_.data(),
                    machine_.stream());
  }
}
template <class Element>
void MoeOp<Element>::combine() {
  launch_combine(results_.data(), row_of_.data(), weights_.data(), output_.data(), shape_.tokens, shape_.top_k,
                 shape_.hidden, machine_.stream());
}
template <class Element>
void MoeOp<Element>::all() {
  choose();
  permute();
  quantize_in();
  gather();
  up();
  activate();
  quantize_mid();
  down();
  combine();
}

template <class Element>
void MoeOp<Element>::check() {
  all();
  machine_.wait();
  if (chosen_.download() != routed_.chosen) wrong("router: other experts than the reference chooses");
  const std::vector<float> weights = weights_.download(), scores = scores_.download();
  const auto experts = static_cast<std::size_t>(shape_.experts), top_k = static_cast<std::size_t>(shape_.top_k);
  for (const std::size_t t : sampled_places(static_cast<std::size_t>(shape_.tokens), 16, seed_)) {
    const Choice choice = calibrate::choose(std::span(scores).subspan(t * experts, experts), shape_.top_k);
    require_close("router weights", std::span(weights).subspan(t * top_k, top_k), choice.weights, {1e-4, 1e-6});
  }
  if (offsets_.download() != expected_.offsets) wrong("permutation: other offsets than the reference");
  if (row_of_.download() != expected_.row_of) wrong("permutation: other rows than the reference");
  if (slot_of_.download(0, rows_) != expected_.slot_of) wrong("permutation: other slots than the reference");
  if (rows_ > 0) check_rows();
  require_written("combine", output_);
  for (const std::size_t t : sampled_places(static_cast<std::size_t>(shape_.tokens), 4, seed_ + 1)) {
    std::vector<double> expected(hidden_);
    for (std::size_t j = 0; j < top_k; ++j) {
      const std::int32_t row = expected_.row_of[t * top_k + j];
      if (row < 0) continue;
      const std::vector<float> result = results_.download_floats(static_cast<std::size_t>(row) * hidden_, hidden_);
      for (std::size_t i = 0; i < hidden_; ++i) expected[i] += double{weights[t * top_k + j]} * double{result[i]};
    }
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    require_close("combine", output_.download_floats(t * hidden_, hidden_), expected, {1.0 / 128, largest / 1024});
  }
}

/// The parts on permuted rows, at some of them.
template <class Element>
void MoeOp<Element>::check_rows() {
  require_written("up projection", halves_);
  require_written("activation", activated_);
  require_written("down projection", results_);
  const auto inter = static_cast<std::size_t>(inter_);
  const std::vector<float> scales = scales_.download();
  for (const std::size_t row : sampled_places(rows_, 6, seed_ + 2)) {
    std::size_t expert = 0;
    while (static_cast<std::size_t>(expected_.offsets[expert + 1]) <= row) ++expert;
    const auto token = static_cast<std::size_t>(expected_.slot_of[row] / shape_.top_k);

    // Tokens as they enter the product, in the units of the product.
    const std::vector<float> stored = permuted_.download_floats(row * hidden_, hidden_);
    const std::vector<float> token_values = random_floats<Bf16>(seed_ + of_tokens, token * hidden_, hidden_);
    for (std::size_t i = 0; i < hidden_; ++i) {
      const float expected = kFp8 ? to_float(to_fp8(token_values[i] * (1.0F / scales[0]))) : token_values[i];
      if (stored[i] != expected) wrong("permuted row " + std::to_string(row) + " is not that of its token");
    }
    const auto product = [&](const char* what, const std::vector<float>& left, float scale,
                             const DeviceBuffer<Bf16>& got, std::size_t n, Seed of_weights) {
      const std::size_t k = left.size();
      double square = 0;
      for (const float value : left) square += double{value} * double{value} / static_cast<double>(k);
      std::vector<float> values;
      std::vector<double> expected;
      for (const std::size_t column : sampled_places(n, 24, seed_ + row)) {
        values.push_back(got.download_floats(row * n + column, 1)[0]);
        expected.push_back(double{scale} *
                           dot(left, random_floats<Element>(seed_ + of_weights, (expert * n + column) * k, k)));
      }
      // The tolerance is for left factors of variance 1/3.
      Tolerance tolerance = product_tolerance(static_cast<std::int64_t>(k), kFp8);
      tolerance.absolute *= std::sqrt(3 * square) * double{scale};
      require_close(what, values, expected, tolerance);
    };
    product("up projection", stored, kFp8 ? scales[0] : 1.0F, halves_, 2 * inter, of_up);

    const std::vector<float> halves = halves_.download_floats(row * 2 * inter, 2 * inter);
    const std::vector<float> activated = activated_.download_floats(row * inter, inter);
    std::vector<double> expected(inter);
    for (std::size_t i = 0; i < inter; ++i) expected[i] = swiglu(double{halves[i]}, double{halves[inter + i]});
    require_close("activation", activated, expected, {1.0 / 128, 1e-6});

    std::vector<float> middle = activated;
    if constexpr (kFp8) {
      middle = low_activated_.download_floats(row * inter, inter);
      for (std::size_t i = 0; i < inter; ++i) {
        if (middle[i] != to_float(to_fp8(activated[i] * (1.0F / scales[1])))) wrong("quantised activation");
      }
    }
    product("down projection", middle, kFp8 ? scales[1] : 1.0F, results_, hidden_, of_down);
  }
}

template class MoeOp<Bf16>;
template class MoeOp<Fp8>;

}  // namespace moesim::calibrate
