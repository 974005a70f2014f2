#pragma once
// One MoE op on one rank: its inputs, what lies between its parts, and each part as a call that enqueues it.

#include "../cases.h"
#include "../references.h"
#include "grouped_provider.h"
#include "machine.h"

namespace moesim::calibrate {

/// Scores to combined output. With fp8 the tokens are quantised before they are permuted, and the activations before
/// the second product, each with one scale that is computed in the op; weights have the scale 1.
template <class Element>
class MoeOp {
 public:
  static constexpr bool kFp8 = sizeof(Element) == 1;

  MoeOp(Machine& machine, const MoeCase& shape, const std::string& kernel, std::uint64_t seed);

  void choose();       ///< top-k of the scores
  void permute();      ///< offsets and places of the rows
  void quantize_in();  ///< nothing in bf16
  void gather();
  void up() { up_(); }  ///< gate and up projections
  void activate();
  void quantize_mid();  ///< nothing in bf16
  void down() { down_(); }
  void combine();
  void all();

  /// Runs the op once and compares every part with its reference on what the part before gave: choices and places
  /// exactly, the rest at some rows, and that all was written. Throws RowError.
  void check();

 private:
  void check_rows();
  const std::int32_t* rows_end() const { return offsets_.data() + local_; }
  PermutationBuffers places() const {
    return {counts_.data(), total_.data(), offsets_.data(), row_of_.data(), slot_of_.data()};
  }

  Machine& machine_;
  MoeCase shape_;
  std::uint64_t seed_;
  int local_, inter_, slots_;
  RoutedTokens routed_;
  Permutation expected_;
  std::size_t rows_, hidden_;
  DeviceBuffer<float> scores_, weights_, scales_;  ///< scales: of the tokens, of the activations, 1
  DeviceBuffer<std::int32_t> chosen_, counts_, total_, offsets_, row_of_, slot_of_;
  DeviceBuffer<Bf16> tokens_, halves_, activated_, results_, output_;
  DeviceBuffer<Element> low_tokens_, permuted_, low_activated_, up_weights_, down_weights_;
  GroupedStart up_, down_;
};

}  // namespace moesim::calibrate
