#include "cudnn_attention.h"

#if __has_include(<cudnn.h>)

#include <cudnn.h>
#include <fmt/core.h>

#include <array>
#include <limits>
#include <vector>

#include "../shared_library.h"

namespace moesim::calibrate {

namespace {

/// The functions used, from the library of the machine.
struct Library {
  SharedLibrary library{"libcudnn.so.9"};
  decltype(cudnnGetVersion)* get_version = nullptr;
  decltype(cudnnGetErrorString)* error_string = nullptr;
  decltype(cudnnCreate)* create = nullptr;
  decltype(cudnnDestroy)* destroy = nullptr;
  decltype(cudnnSetStream)* set_stream = nullptr;
  decltype(cudnnBackendCreateDescriptor)* create_descriptor = nullptr;
  decltype(cudnnBackendDestroyDescriptor)* destroy_descriptor = nullptr;
  decltype(cudnnBackendSetAttribute)* set_attribute = nullptr;
  decltype(cudnnBackendGetAttribute)* get_attribute = nullptr;
  decltype(cudnnBackendFinalize)* finalize = nullptr;
  decltype(cudnnBackendExecute)* execute = nullptr;
  bool complete = static_cast<bool>(library);

  Library() {
    const auto find = [&](const char* name, auto& function) {
      library.find(name, function);
      complete = complete && function != nullptr;
    };
    find("cudnnGetVersion", get_version);
    find("cudnnGetErrorString", error_string);
    find("cudnnCreate", create);
    find("cudnnDestroy", destroy);
    find("cudnnSetStream", set_stream);
    find("cudnnBackendCreateDescriptor", create_descriptor);
    find("cudnnBackendDestroyDescriptor", destroy_descriptor);
    find("cudnnBackendSetAttribute", set_attribute);
    find("cudnnBackendGetAttribute", get_attribute);
    find("cudnnBackendFinalize", finalize);
    find("cudnnBackendExecute", execute);
  }
};

const Library& cudnn() {
  static const Library library;
  return library;
}

void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw RowError(Failure::Kind::not_supported, fmt::format("cuDNN: {}: {}", what, cudnn().error_string(status)));
}

/// A part of a graph: attributes are set, then it is fixed.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    cudnnBackendDescriptor_t descriptor = nullptr;
    check(cudnn().create_descriptor(type, &descriptor), "descriptor");
    descriptor_ = std::shared_ptr<void>(descriptor, [](void* d) { cudnn().destroy_descriptor(d); });
  }
  cudnnBackendDescriptor_t get() const { return descriptor_.get(); }

  template <class Value>
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const Value& value) {
    check(cudnn().set_attribute(get(), name, type, 1, &value), "attribute");
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.get());
  }
  template <class Range>
  Descriptor& set_all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const Range& values) {
    check(cudnn().set_attribute(get(), name, type, static_cast<std::int64_t>(values.size()), values.data()),
          "attribute");
    return *this;
  }
  Descriptor& done() {
    check(cudnn().finalize(get()), "finalize");
    return *this;
  }

 private:
  std::shared_ptr<void> descriptor_;
};

using Four = std::array<std::int64_t, 4>;

/// Tensors that the caller has; others exist only between operations.
enum Id : std::int64_t { of_queries = 1, of_keys, of_values, of_output, of_scale, of_masked, of_first_unused };

/// The graph of softmax(scale Q K^T, causal) V as matrix products, pointwise operations and reductions: the pattern of
/// cuDNN's fused attention [cudnn: Graph API, Fused Flash Attention fprop].
class AttentionGraph {
 public:
  AttentionGraph(const PrefillAttention& shape, int key_dim, int value_dim) {
    const std::int64_t b = shape.batch, s = shape.length, h = shape.query_heads, g = shape.kv_heads, k = key_dim,
                       v = value_dim;
    const Descriptor queries = given(of_queries, {b, h, s, k}, {s * h * k, k, h * k, 1});
    const Descriptor keys = given(of_keys, {b, g, k, s}, {s * g * k, k, 1, g * k});
    const Descriptor values = given(of_values, {b, g, s, v}, {s * g * v, v, g * v, 1});
    const Descriptor output = given(of_output, {b, h, s, v}, {s * h * v, v, h * v, 1});
    const Descriptor scale = scalar(of_scale), masked = scalar(of_masked);

    const Four all{b, h, s, s}, rows{b, h, s, 1};
    const Descriptor scores = product(queries, keys, between(all));
    const Descriptor scaled = pointwise(CUDNN_POINTWISE_MUL, scores, &scale, between(all));
    const Descriptor row = index(2, scaled, between(all, CUDNN_DATA_INT32));
    const Descriptor column = index(3, scaled, between(all, CUDNN_DATA_INT32));
    const Descriptor seen =
        pointwise(CUDNN_POINTWISE_CMP_GE, row, &column, between(all, CUDNN_DATA_BOOLEAN), CUDNN_DATA_BOOLEAN);
    const Descriptor visible = select(scaled, masked, seen, between(all));
    const Descriptor largest = reduction(CUDNN_REDUCE_TENSOR_MAX, visible, between(rows));
    const Descriptor shifted = pointwise(CUDNN_POINTWISE_SUB, visible, &largest, between(all));
    const Descriptor weights = pointwise(CUDNN_POINTWISE_EXP, shifted, nullptr, between(all));
    const Descriptor sum = reduction(CUDNN_REDUCE_TENSOR_ADD, weights, between(rows));
    const Descriptor shares = pointwise(CUDNN_POINTWISE_DIV, weights, &sum, between(all, CUDNN_DATA_BFLOAT16));
    product(shares, values, output);
  }
  const std::vector<Descriptor>& operations() const { return operations_; }

 private:
  static Descriptor tensor(std::int64_t id, cudnnDataType_t type, const Four& extents, const Four& strides,
                           bool is_virtual, bool by_value) {
    Descriptor descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    descriptor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, id)
        .set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type)
        .set_all(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, extents)
        .set_all(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides)
        .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, std::int64_t{16})
        .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual)
        .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, by_value);
    return descriptor.done();
  }
  static Descriptor given(Id id, const Four& extents, const Four& strides) {
    return tensor(id, CUDNN_DATA_BFLOAT16, extents, strides, false, false);
  }
  static Descriptor scalar(Id id) { return tensor(id, CUDNN_DATA_FLOAT, {1, 1, 1, 1}, {1, 1, 1, 1}, false, true); }
  Descriptor between(const Four& extents, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    const auto [b, h, m, n] = extents;
    return tensor(next_++, type, extents, {h * m * n, m * n, n, 1}, true, false);
  }

  Descriptor product(const Descriptor& a, const Descriptor& b, Descriptor c) {
    Descriptor kind(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
    kind.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT).done();
    Descriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, kind)
        .set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, a)
        .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, b)
        .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
    operations_.push_back(operation.done());
    return c;
  }
  static Descriptor pointwise_kind(cudnnPointwiseMode_t mode, cudnnDataType_t precision) {
    Descriptor kind(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    kind.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode)
        .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, precision);
    return kind;
  }
  Descriptor pointwise(cudnnPointwiseMode_t mode, const Descriptor& x, const Descriptor* b, Descriptor y,
                       cudnnDataType_t precision = CUDNN_DATA_FLOAT) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise_kind(mode, precision).done())
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    if (b != nullptr) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *b);
    operations_.push_back(operation.done());
    return y;
  }
  Descriptor index(std::int64_t axis, const Descriptor& x, Descriptor y) {
    Descriptor kind = pointwise_kind(CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_INT32);
    kind.set(CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, axis).done();
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    operations_.push_back(operation.done());
    return y;
  }
  /// `x` where `mask`, else `other`.
  Descriptor select(const Descriptor& x, const Descriptor& other, const Descriptor& mask, Descriptor y) {
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation
        .set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
             pointwise_kind(CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT).done())
        .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, other)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, mask)
        .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    operations_.push_back(operation.done());
    return y;
  }
  Descriptor reduction(cudnnReduceTensorOp_t over, const Descriptor& x, Descriptor y) {
    Descriptor kind(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
    kind.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, over)
        .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT)
        .done();
    Descriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind)
        .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x)
        .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    operations_.push_back(operation.done());
    return y;
  }

  std::int64_t next_ = of_first_unused;
  std::vector<Descriptor> operations_;
};

}  // namespace

struct CudnnAttention::Plan {
  cudnnHandle_t handle = nullptr;
  std::vector<Descriptor> kept;  ///< operations, graph and configuration live as long as the plan
  std::shared_ptr<Descriptor> execution;
  DeviceBuffer<std::uint8_t> workspace;

  ~Plan() {
    execution.reset();
    kept.clear();
    if (handle != nullptr) cudnn().destroy(handle);
  }
};

std::string CudnnAttention::version() {
  if (!cudnn().complete) return {};
  const std::size_t version = cudnn().get_version();
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

CudnnAttention::CudnnAttention(const Machine& machine, const PrefillAttention& shape, int key_dim, int value_dim)
    : plan_(std::make_unique<Plan>()) {
  if (!cudnn().complete) throw RowError(Failure::Kind::not_supported, "cuDNN is not here");
  check(cudnn().create(&plan_->handle), "handle");
  check(cudnn().set_stream(plan_->handle, machine.stream()), "stream");
  plan_->kept = AttentionGraph(shape, key_dim, value_dim).operations();
  std::vector<cudnnBackendDescriptor_t> operations;
  for (const Descriptor& operation : plan_->kept) operations.push_back(operation.get());
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, plan_->handle)
      .set_all(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, operations)
      .done();
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, CUDNN_HEUR_MODE_A)
      .done();
  Descriptor configuration(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  cudnnBackendDescriptor_t first = configuration.get();
  std::int64_t count = 0;
  check(cudnn().get_attribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                              &first),
        "heuristic");
  if (count == 0) throw RowError(Failure::Kind::not_supported, "cuDNN has no engine for this attention");
  plan_->execution = std::make_shared<Descriptor>(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan_->execution->set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, plan_->handle)
      .set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration)
      .done();
  std::int64_t bytes = 0;
  check(cudnn().get_attribute(plan_->execution->get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
                              &count, &bytes),
        "workspace");
  plan_->workspace = DeviceBuffer<std::uint8_t>(static_cast<std::size_t>(bytes));
  plan_->kept.push_back(graph);
  plan_->kept.push_back(configuration);
}

CudnnAttention::~CudnnAttention() = default;

void CudnnAttention::enqueue(const PrefillAttention& work) const {
  constexpr float ln2 = 0.69314718F;
  float scale = work.scale * ln2, masked = std::numeric_limits<float>::lowest();
  const std::array<std::int64_t, 6> ids{of_queries, of_keys, of_values, of_output, of_scale, of_masked};
  const std::array<const void*, 6> data{work.queries, work.keys, work.values, work.output, &scale, &masked};
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set_all(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, ids)
      .set_all(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, data)
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, static_cast<void*>(plan_->workspace.data()))
      .done();
  check(cudnn().execute(plan_->handle, plan_->execution->get(), pack.get()), "execute");
}

}  // namespace moesim::calibrate

#else

namespace moesim::calibrate {

struct CudnnAttention::Plan {};
std::string CudnnAttention::version() {
  return {};
}
CudnnAttention::CudnnAttention(const Machine&, const PrefillAttention&, int, int) {
  throw RowError(Failure::Kind::not_supported, "built without cudnn.h");
}
CudnnAttention::~CudnnAttention() = default;
void CudnnAttention::enqueue(const PrefillAttention&) const {}

}  // namespace moesim::calibrate

#endif
