#pragma once
// Collectives by NCCL over the GPUs of this process, or over one GPU in each process of a group.

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "../cases.h"
#include "../nccl_library.h"
#include "../options.h"
#include "machine.h"

namespace moesim::calibrate {

/// Ranks that this process drives, of one communicator.
class Communicator {
 public:
  /// GPUs 0 to ranks - 1 of this process.
  Communicator(const NcclLibrary& nccl, int ranks);
  /// One rank of a group of processes on `device`.
  Communicator(const NcclLibrary& nccl, const ProcessGroup& group, int device);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  struct Rank {
    int rank = 0, device = 0;
    cudaStream_t stream = nullptr;
    NcclCommunicator communicator = nullptr;
  };
  const std::vector<Rank>& mine() const { return mine_; }
  int ranks() const { return ranks_; }
  void wait() const;

 private:
  void join(const NcclId& id);
  const NcclLibrary& nccl_;
  int ranks_;
  std::vector<Rank> mine_;
};

class CollectiveBench {
 public:
  /// Throws RowError where the group cannot be made.
  CollectiveBench(const NcclLibrary& nccl, int gpus, const std::optional<ProcessGroup>& group, int device);
  int ranks() const { return group_ ? group_->ranks : gpus_; }
  /// Machines of the group, told apart by their host names.
  int nodes();
  /// Not in a CUDA graph and out of place, as nccl-tests and the shared tables.
  Measured measure(const CollectiveCase& shape, std::uint64_t seed);
  /// The value that rank 0 of the group has.
  bool as_rank_0_says(bool mine);

 private:
  Communicator& communicator(int ranks);
  const NcclLibrary& nccl_;
  int gpus_;
  std::optional<ProcessGroup> group_;
  std::map<int, std::unique_ptr<Communicator>> communicators_;
};

}  // namespace moesim::calibrate
