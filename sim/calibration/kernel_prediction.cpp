#include "calibration/kernel_prediction.h"

#include <tuple>

#include "hardware/kernel_cost.h"

namespace moesim {

namespace {

/// Rows of one table come shape by shape, so that one prepared cost serves many.
class ExpertCosts {
 public:
  Duration operator()(const KernelCost& kernels, const TimedExperts& timed) {
    if (!cost_ || !same(timed)) {
      cost_ = !timed.layout ? MoeCost::fused(kernels, timed.shape)
              : timed.part  ? MoeCost::grouped(kernels, timed.shape, *timed.layout, *timed.part)
                            : MoeCost::grouped(kernels, timed.shape, *timed.layout);
      of_ = {timed.shape, {}, timed.layout, timed.part};
    }
    return (*cost_)(timed.load);
  }

 private:
  bool same(const TimedExperts& timed) const {
    const MoeShape &a = of_.shape, &b = timed.shape;
    return std::tie(a.hidden, a.intermediate, a.top_k, a.gated, a.weight, a.activation, of_.layout, of_.part) ==
           std::tie(b.hidden, b.intermediate, b.top_k, b.gated, b.weight, b.activation, timed.layout, timed.part);
  }
  std::optional<MoeCost> cost_;
  TimedExperts of_;
};

struct Predictor {
  const KernelCost& kernels;
  ExpertCosts experts = {};

  Duration operator()(const TimedGemm& timed) {
    Duration time = kernels.gemm(timed.shape);
    if (timed.quantizes) time += kernels.quantize(timed.shape.m, timed.shape.k, timed.shape.activation);
    return time;
  }
  Duration operator()(const TimedExperts& timed) { return experts(kernels, timed); }
  Duration operator()(const TimedAttention& timed) const {
    return kernels.decode_attention(timed.shape, timed.decode) + kernels.prefill_attention(timed.shape, timed.prefill);
  }
  Duration operator()(const TimedQuantize& timed) const {
    return kernels.quantize(timed.pass, timed.m, timed.k, timed.to);
  }
  Duration operator()(const TimedRecurrence& timed) const { return kernels.linear_attention(timed.shape, timed.work); }
  Duration operator()(const TimedPass& timed) const { return kernels.memory_pass(timed.bytes); }
};

}  // namespace

std::vector<double> predict_kernels(std::span<const KernelSample* const> samples, const GpuSpec& gpu,
                                    const KernelProfile& profile) {
  const KernelCost kernels(gpu, profile, CacheState::replayed);
  Predictor predict{kernels};
  std::vector<double> seconds;
  seconds.reserve(samples.size());
  for (const KernelSample* sample : samples) seconds.push_back(std::visit(predict, sample->timed).seconds());
  return seconds;
}

}  // namespace moesim
