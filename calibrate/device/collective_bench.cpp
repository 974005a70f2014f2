#include "collective_bench.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <set>

#include "row_check.h"

namespace moesim::calibrate {

namespace {

void nccl_check(const NcclLibrary& nccl, int result, const char* call) {
  if (result != 0) {
    throw RowError(Failure::Kind::device_lost, fmt::format("{}: {}", call, nccl.error_string(result)));
  }
}

/// Value that launch_fill_pattern gives element `i` of `rank`.
int pattern(std::size_t i, int rank) {
  return static_cast<int>((7 * i + static_cast<std::size_t>(rank)) % 3);
}

/// Elements that a rank sends and receives, and what it does with its peers.
struct Plan {
  const CollectiveCase& shape;
  std::size_t elements() const { return static_cast<std::size_t>(shape.bytes) / 2; }
  std::size_t ranks() const { return static_cast<std::size_t>(shape.ranks); }
  std::size_t chunk() const { return elements() / ranks(); }

  bool is(std::string_view name) const { return shape.collective == name; }
  bool exchanges() const { return is("alltoall") || is("alltoallv"); }
  std::size_t to(int destination) const {
    return is("alltoallv") ? static_cast<std::size_t>(elements_to(shape, destination)) : chunk();
  }
  std::size_t start_of(int destination) const {
    std::size_t start = 0;
    for (int r = 0; r < destination; ++r) start += to(r);
    return start;
  }
  std::size_t sends(int rank) const {
    if (is("all_gather")) return chunk();
    if (is("send_recv")) return rank == 0 ? elements() : 0;
    if (is("reduce_scatter")) return chunk() * ranks();
    return exchanges() ? start_of(shape.ranks) : elements();
  }
  std::size_t receives(int rank) const {
    if (is("all_gather")) return chunk() * ranks();
    if (is("reduce_scatter")) return chunk();
    if (is("send_recv")) return rank == 1 ? elements() : 0;
    return exchanges() ? to(rank) * ranks() : elements();
  }
  /// What element `i` of the result of `rank` is.
  int expected(std::size_t i, int rank) const {
    const auto me = static_cast<std::size_t>(rank);
    if (is("all_reduce") || is("reduce_scatter")) {
      int sum = 0;
      for (int r = 0; r < shape.ranks; ++r) sum += pattern(is("all_reduce") ? i : me * chunk() + i, r);
      return sum;
    }
    if (is("all_gather")) return pattern(i % chunk(), static_cast<int>(i / chunk()));
    if (is("send_recv")) return pattern(i, 0);
    return pattern(start_of(rank) + i % to(rank), static_cast<int>(i / to(rank)));
  }
};

/// The buffers of one rank, on its GPU.
struct RankBuffers {
  DeviceBuffer<Bf16> send, receive;
};

}  // namespace

Communicator::Communicator(const NcclLibrary& nccl, int ranks) : nccl_(nccl), ranks_(ranks) {
  for (int r = 0; r < ranks; ++r) mine_.push_back({.rank = r, .device = r});
  NcclId id{};
  nccl_check(nccl, nccl.get_unique_id(&id), "ncclGetUniqueId");
  join(id);
}

Communicator::Communicator(const NcclLibrary& nccl, const ProcessGroup& group, int device)
    : nccl_(nccl), ranks_(group.ranks) {
  mine_.push_back({.rank = group.rank, .device = device});
  NcclId id{};
  constexpr int patience = 300;  // seconds
  if (group.rank == 0) {
    nccl_check(nccl, nccl.get_unique_id(&id), "ncclGetUniqueId");
    if (!write_id_file(group.id_file, id)) {
      throw RowError(Failure::Kind::device_lost, group.id_file + ": cannot be written");
    }
  } else if (!read_id_file(group.id_file, id, patience)) {
    throw RowError(Failure::Kind::device_lost,
                   fmt::format("{}: rank 0 did not write it in {} s", group.id_file, patience));
  }
  join(id);
}

void Communicator::join(const NcclId& id) {
  for (Rank& rank : mine_) {
    CUDA_TRY(cudaSetDevice(rank.device));
    CUDA_TRY(cudaStreamCreateWithFlags(&rank.stream, cudaStreamNonBlocking));
  }
  nccl_check(nccl_, nccl_.group_start(), "ncclGroupStart");
  for (Rank& rank : mine_) {
    CUDA_TRY(cudaSetDevice(rank.device));
    nccl_check(nccl_, nccl_.init_rank(&rank.communicator, ranks_, id, rank.rank), "ncclCommInitRank");
  }
  nccl_check(nccl_, nccl_.group_end(), "ncclGroupEnd");
}

Communicator::~Communicator() {
  for (const Rank& rank : mine_) {
    cudaSetDevice(rank.device);
    if (rank.communicator != nullptr) nccl_.destroy(rank.communicator);
    if (rank.stream != nullptr) cudaStreamDestroy(rank.stream);
  }
}

void Communicator::wait() const {
  for (const Rank& rank : mine_) {
    CUDA_TRY(cudaSetDevice(rank.device));
    CUDA_TRY(cudaStreamSynchronize(rank.stream));
  }
}

CollectiveBench::CollectiveBench(const NcclLibrary& nccl, int gpus, const std::optional<ProcessGroup>& group,
                                 int device)
    : nccl_(nccl), gpus_(gpus), group_(group) {
  if (group) communicators_.emplace(group->ranks, std::make_unique<Communicator>(nccl, *group, device));
}

Communicator& CollectiveBench::communicator(int ranks) {
  const auto place = communicators_.find(ranks);
  if (place != communicators_.end()) return *place->second;
  return *communicators_.emplace(ranks, std::make_unique<Communicator>(nccl_, ranks)).first->second;
}

Measured CollectiveBench::measure(const CollectiveCase& shape, std::uint64_t seed) {
  const Plan plan{shape};
  Communicator& group = communicator(shape.ranks);
  std::deque<RankBuffers> buffers;
  for (const Communicator::Rank& rank : group.mine()) {
    CUDA_TRY(cudaSetDevice(rank.device));
    RankBuffers& own = buffers.emplace_back(
        RankBuffers{DeviceBuffer<Bf16>(plan.sends(rank.rank)), DeviceBuffer<Bf16>(plan.receives(rank.rank))});
    launch_fill_pattern(own.send.data(), own.send.size(), rank.rank, nullptr);
    CUDA_TRY(cudaDeviceSynchronize());
  }

  const auto start = [&] {
    nccl_check(nccl_, nccl_.group_start(), "ncclGroupStart");
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const Communicator::Rank& rank = group.mine()[i];
      const Bf16* const send = buffers[i].send.data();
      Bf16* const receive = buffers[i].receive.data();
      constexpr int type = NcclLibrary::kBf16;
      CUDA_TRY(cudaSetDevice(rank.device));
      const auto done = [&](int result) { nccl_check(nccl_, result, "the collective"); };
      if (plan.is("all_reduce")) {
        done(nccl_.all_reduce(send, receive, plan.elements(), type, NcclLibrary::kSum, rank.communicator, rank.stream));
      } else if (plan.is("all_gather")) {
        done(nccl_.all_gather(send, receive, plan.chunk(), type, rank.communicator, rank.stream));
      } else if (plan.is("reduce_scatter")) {
        done(
            nccl_.reduce_scatter(send, receive, plan.chunk(), type, NcclLibrary::kSum, rank.communicator, rank.stream));
      } else if (plan.is("send_recv")) {
        if (rank.rank == 0) done(nccl_.send(send, plan.elements(), type, 1, rank.communicator, rank.stream));
        if (rank.rank == 1) done(nccl_.receive(receive, plan.elements(), type, 0, rank.communicator, rank.stream));
      } else {
        for (int peer = 0; peer < shape.ranks; ++peer) {
          const std::size_t out = plan.to(peer), in = plan.to(rank.rank);
          done(nccl_.send(send + plan.start_of(peer), out, type, peer, rank.communicator, rank.stream));
          done(nccl_.receive(receive + static_cast<std::size_t>(peer) * in, in, type, peer, rank.communicator,
                             rank.stream));
        }
      }
    }
    nccl_check(nccl_, nccl_.group_end(), "ncclGroupEnd");
  };
  start();
  group.wait();
  std::string problem;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const DeviceBuffer<Bf16>& result = buffers[i].receive;
    const int rank = group.mine()[i].rank;
    if (result.size() == 0) continue;
    CUDA_TRY(cudaSetDevice(group.mine()[i].device));
    if (result.count_nan() > 0) problem = fmt::format("rank {}: elements were not written", rank);
    for (const std::size_t place : sampled_places(result.size(), 256, seed)) {
      const float got = result.download_floats(place, 1)[0];
      const auto expected = static_cast<float>(plan.expected(place, rank));
      if (got != expected) problem = fmt::format("rank {}: element {} is {}, expected {}", rank, place, got, expected);
    }
  }
  // Ranks agree on going on by the sum of their problems, and time together by the slowest.
  const auto over_ranks = [&](std::vector<float> values, int op) {
    if (!group_) return values;
    const DeviceBuffer<float> shared{std::span<const float>(values)};
    const Communicator::Rank& rank = group.mine().front();
    CUDA_TRY(cudaDeviceSynchronize());
    nccl_check(nccl_,
               nccl_.all_reduce(shared.data(), shared.data(), values.size(), NcclLibrary::kFloat, op, rank.communicator,
                                rank.stream),
               "ncclAllReduce");
    group.wait();
    return shared.download();
  };
  if (over_ranks({problem.empty() ? 0.0F : 1.0F}, NcclLibrary::kSum)[0] > 0) {
    wrong(problem.empty() ? "on another rank" : problem);
  }

  constexpr int warm_up = 20, repeats = 20;
  const int inner = shape.bytes > 16 << 20 ? 5 : 20;
  for (int i = 0; i < warm_up; ++i) start();
  group.wait();
  std::deque<Marks> marks;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    CUDA_TRY(cudaSetDevice(group.mine()[i].device));
    marks.emplace_back(repeats + 1);
  }
  for (int r = 0; r <= repeats; ++r) {
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      CUDA_TRY(cudaSetDevice(group.mine()[i].device));
      marks[i].set(r, group.mine()[i].stream);
    }
    for (int j = 0; r < repeats && j < inner; ++j) start();
  }
  group.wait();
  std::vector<float> samples;
  for (int r = 0; r < repeats; ++r) {
    double slowest = 0;
    for (const Marks& rank : marks) slowest = std::max(slowest, rank.between(r, r + 1) / inner);
    samples.push_back(static_cast<float>(slowest));
  }
  samples = over_ranks(samples, NcclLibrary::kMax);
  return {.times = {summarize(std::vector<double>(samples.begin(), samples.end()))}, .sm_clock = 0};
}

int CollectiveBench::nodes() {
  if (!group_) return 1;
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  std::uint64_t mine = 0;
  for (const char c : host) mine = random_word(mine, static_cast<unsigned char>(c));
  const Communicator& group = communicator(group_->ranks);
  const Communicator::Rank& rank = group.mine().front();
  const std::vector<std::uint64_t> value{mine};
  const DeviceBuffer<std::uint64_t> from{std::span<const std::uint64_t>(value)};
  const DeviceBuffer<std::uint64_t> all(static_cast<std::size_t>(group_->ranks));
  CUDA_TRY(cudaDeviceSynchronize());
  nccl_check(
      nccl_,
      nccl_.all_gather(from.data(), all.data(), sizeof mine, NcclLibrary::kUint8, rank.communicator, rank.stream),
      "ncclAllGather");
  group.wait();
  const std::vector<std::uint64_t> hosts = all.download();
  return static_cast<int>(std::set<std::uint64_t>(hosts.begin(), hosts.end()).size());
}

bool CollectiveBench::as_rank_0_says(bool mine) {
  if (!group_) return mine;
  const Communicator& group = communicator(group_->ranks);
  const Communicator::Rank& rank = group.mine().front();
  const std::vector<std::uint8_t> value{static_cast<std::uint8_t>(mine ? 1 : 0)};
  const DeviceBuffer<std::uint8_t> shared{std::span<const std::uint8_t>(value)};
  CUDA_TRY(cudaDeviceSynchronize());
  nccl_check(nccl_,
             nccl_.broadcast(shared.data(), shared.data(), 1, NcclLibrary::kUint8, 0, rank.communicator, rank.stream),
             "ncclBroadcast");
  group.wait();
  return shared.download()[0] != 0;
}

}  // namespace moesim::calibrate
