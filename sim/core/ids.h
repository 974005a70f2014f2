#pragma once
// Typed indices: a RequestId cannot index the table of replicas.

#include <compare>
#include <cstdint>
#include <functional>
#include <vector>

namespace moesim {

template <class Tag>
struct Id {
  std::uint32_t value = 0;
  constexpr auto operator<=>(const Id&) const = default;
};

using RequestId = Id<struct RequestTag>;
using ReplicaId = Id<struct ReplicaTag>;  ///< one engine: a set of data-parallel ranks that step together
using RankId = Id<struct RankTag>;        ///< a position in the parallel plan of one replica
using GpuId = Id<struct GpuTag>;          ///< a GPU of the cluster, node-major
using NodeId = Id<struct NodeTag>;        ///< a machine of the cluster
using LinkId = Id<struct LinkTag>;        ///< one direction of a link of the topology graph
using ExpertId = Id<struct ExpertTag>;    ///< a logical expert of a layer
using SlotId = Id<struct SlotTag>;        ///< a physical copy of an expert on a rank

/// A vector that is indexed by one kind of id only.
template <class IdType, class T>
class Table {
 public:
  Table() = default;
  explicit Table(std::size_t n, const T& value = T()) : rows_(n, value) {}
  T& operator[](IdType id) { return rows_[id.value]; }
  const T& operator[](IdType id) const { return rows_[id.value]; }
  IdType push_back(T row) {
    rows_.push_back(std::move(row));
    return IdType{static_cast<std::uint32_t>(rows_.size() - 1)};
  }
  std::size_t size() const { return rows_.size(); }
  auto begin() { return rows_.begin(); }
  auto end() { return rows_.end(); }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }

 private:
  std::vector<T> rows_;
};

}  // namespace moesim
