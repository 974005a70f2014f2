#include "grouped_provider.h"

#include <map>

#include "cublas_product.h"

namespace moesim::calibrate {

namespace {

template <class Element>
constexpr Precision kPrecision = sizeof(Element) == 1 ? Precision::fp8 : Precision::bf16;

template <class Element>
GroupedStart cublaslt_loop(Machine& machine, const GroupedProduct<Element>& product,
                           std::span<const std::int32_t> offsets) {
  // Experts with as many rows share a plan.
  auto plans = std::make_shared<std::map<std::int32_t, CublasProduct>>();
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
    const std::int32_t rows = offsets[e + 1] - offsets[e];
    if (rows > 0) {
      plans->try_emplace(rows, machine,
                         ProductShape{.precision = kPrecision<Element>, .m = rows, .n = product.n, .k = product.k});
    }
  }
  return [plans, product, offsets = std::vector<std::int32_t>(offsets.begin(), offsets.end())] {
    for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
      const std::int32_t rows = offsets[e + 1] - offsets[e];
      if (rows == 0) continue;
      const auto first = static_cast<std::size_t>(offsets[e]), n = static_cast<std::size_t>(product.n),
                 k = static_cast<std::size_t>(product.k);
      plans->at(rows).enqueue(product.rows + first * k, product.weights + e * n * k, product.output + first * n,
                              product.row_scale, product.weight_scale);
    }
  };
}

/// Sizes on the host, addresses on the device; columns first, as in CublasProduct.
struct GroupedBlas {
  std::vector<cublasOperation_t> left, right;
  std::vector<int> m, n, k, group;
  std::vector<float> one, zero;
  DeviceBuffer<const void*> weights, rows;
  DeviceBuffer<void*> output;
};

GroupedStart cublas_grouped(Machine& machine, const GroupedProduct<Bf16>& product,
                            std::span<const std::int32_t> offsets) {
  auto call = std::make_shared<GroupedBlas>();
  std::vector<const void*> weights, rows;
  std::vector<void*> output;
  for (std::size_t e = 0; e + 1 < offsets.size(); ++e) {
    const std::int32_t count = offsets[e + 1] - offsets[e];
    if (count == 0) continue;
    const auto first = static_cast<std::size_t>(offsets[e]), n = static_cast<std::size_t>(product.n),
               k = static_cast<std::size_t>(product.k);
    call->left.push_back(CUBLAS_OP_T);
    call->right.push_back(CUBLAS_OP_N);
    call->m.push_back(product.n);
    call->n.push_back(count);
    call->k.push_back(product.k);
    call->group.push_back(1);
    call->one.push_back(1);
    call->zero.push_back(0);
    weights.push_back(product.weights + e * n * k);
    rows.push_back(product.rows + first * k);
    output.push_back(product.output + first * n);
  }
  call->weights = DeviceBuffer<const void*>(std::span<const void* const>(weights));
  call->rows = DeviceBuffer<const void*>(std::span<const void* const>(rows));
  call->output = DeviceBuffer<void*>(std::span<void* const>(output));
  return [call, &machine] {
    BLAS_TRY(cublasGemmGroupedBatchedEx(machine.blas(), call->left.data(), call->right.data(), call->m.data(),
                                        call->n.data(), call->k.data(), call->one.data(), call->weights.data(),
                                        CUDA_R_16BF, call->k.data(), call->rows.data(), CUDA_R_16BF, call->k.data(),
                                        call->zero.data(), call->output.data(), CUDA_R_16BF, call->m.data(),
                                        static_cast<int>(call->m.size()), call->group.data(), CUBLAS_COMPUTE_32F));
  };
}

}  // namespace

template <class Element>
GroupedStart grouped_start(Machine& machine, const std::string& kernel, const GroupedProduct<Element>& product,
                           std::span<const std::int32_t> offsets) {
  if (product.k * static_cast<int>(sizeof(Element)) % 16 != 0) {
    throw RowError(Failure::Kind::not_supported, "rows of the product are no multiple of 16 bytes");
  }
  if (kernel == "cublaslt_loop") return cublaslt_loop(machine, product, offsets);
  if (kernel == "mma_sync") {
    return [product, &machine] { launch_grouped_mma(product, machine.multiprocessors(), machine.stream()); };
  }
  if (kernel == "wgmma" && machine.architecture() == 90) {
    return [product, &machine, rows = offsets.back()] {
      launch_grouped_wgmma(product, rows, machine.multiprocessors(), machine.stream());
    };
  }
  if constexpr (sizeof(Element) == 2) {
    if (kernel == "cublas_grouped") return cublas_grouped(machine, product, offsets);
  }
  throw RowError(Failure::Kind::not_supported, kernel + ": not for this GPU and data type");
}
template GroupedStart grouped_start(Machine&, const std::string&, const GroupedProduct<Bf16>&,
                                    std::span<const std::int32_t>);
template GroupedStart grouped_start(Machine&, const std::string&, const GroupedProduct<Fp8>&,
                                    std::span<const std::int32_t>);

}  // namespace moesim::calibrate
