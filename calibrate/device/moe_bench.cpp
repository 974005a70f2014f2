// The MoE op: whole, its products, its other parts.

#include "benches.h"
#include "moe_op.h"

namespace moesim::calibrate {

namespace {

/// `what(op)` of the op in the case's precision, after its check.
template <class What>
Measured with_checked_op(Machine& machine, const MoeCase& shape, const std::string& kernel, std::uint64_t seed,
                         const What& what) {
  if (shape.precision == Precision::fp8) {
    MoeOp<Fp8> op(machine, shape, kernel, seed);
    op.check();
    return what(op);
  }
  MoeOp<Bf16> op(machine, shape, kernel, seed);
  op.check();
  return what(op);
}

}  // namespace

// One set of weights, as in the shared tables: the experts that are read exceed the L2 cache in nearly every row.
Measured measure_moe(Machine& machine, const MoeCase& shape, const std::string& kernel, std::uint64_t seed) {
  return with_checked_op(machine, shape, kernel, seed,
                         [&](auto& op) { return machine.time(1, [&](int) { op.all(); }); });
}

Measured measure_grouped(Machine& machine, const MoeCase& shape, const std::string& kernel, std::uint64_t seed) {
  return with_checked_op(machine, shape, kernel, seed, [&](auto& op) {
    Measured measured = machine.time(1, [&](int) { op.up(); });
    measured.times.push_back(machine.time(1, [&](int) { op.down(); }).times.front());
    return measured;
  });
}

Measured measure_moe_part(Machine& machine, const MoePartCase& shape, std::uint64_t seed) {
  MoeCase moe = shape.moe;
  moe.precision = machine.has_fp8() && shape.part == "moe_quantize" ? Precision::fp8 : Precision::bf16;
  if (shape.part == "moe_quantize" && !machine.has_fp8()) {
    throw RowError(Failure::Kind::not_supported, "this GPU has no fp8");
  }
  return with_checked_op(machine, moe, "mma_sync", seed, [&](auto& op) {
    return machine.time(1, [&](int) {
      if (shape.part == "moe_gating_routing_topk") op.choose();
      if (shape.part == "moe_shuffling") {
        op.permute();
        op.gather();
      }
      if (shape.part == "moe_activation") op.activate();
      if (shape.part == "moe_quantize") op.quantize_mid();
      if (shape.part == "moe_combine") op.combine();
    });
  });
}

}  // namespace moesim::calibrate
