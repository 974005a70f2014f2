#pragma once
// Dense products by cublasLt: y[m, n] = x[m, k] w[n, k]^T, one or a batch, in bf16 or fp8 with a scale a tensor.

#include "../cases.h"
#include "machine.h"

namespace moesim::calibrate {

/// Sizes of a product; in a batch, matrix i starts `stride` elements after matrix i - 1. Pitches are in elements; 0:
/// tight.
struct ProductShape {
  Precision precision = Precision::bf16;
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t batch = 1;
  std::int64_t x_pitch = 0, y_pitch = 0;
  std::int64_t x_stride = 0, w_stride = 0, y_stride = 0;
};

class CublasProduct {
 public:
  /// Takes the library's first choice of algorithm, as the engines do. Throws RowError where it has none.
  CublasProduct(const Machine& machine, const ProductShape& shape);
  ~CublasProduct();
  CublasProduct(const CublasProduct&) = delete;
  CublasProduct& operator=(const CublasProduct&) = delete;

  /// fp8: `x_scale` and `w_scale` point to a float on the device.
  void enqueue(const void* x, const void* w, Bf16* y, const float* x_scale = nullptr,
               const float* w_scale = nullptr) const;

 private:
  void release();
  const Machine& machine_;
  bool fp8_ = false;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t x_ = nullptr, w_ = nullptr, y_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace moesim::calibrate
