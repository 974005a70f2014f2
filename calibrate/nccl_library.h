#pragma once
// NCCL, loaded when the program runs, so that a machine without it can still measure kernels. The interface is NCCL's
// stable C one: opaque communicators, an id of 128 bytes, results of which 0 is success.

#include <cstddef>
#include <string>

#include "shared_library.h"

namespace moesim::calibrate {

struct NcclId {
  char bytes[128];
};
using NcclCommunicator = void*;

struct NcclLibrary {
  /// Empty where the machine has no NCCL with all functions.
  static NcclLibrary load();
  explicit operator bool() const { return complete; }
  /// "2.28.9".
  std::string version() const;

  static constexpr int kBf16 = 9, kUint8 = 1, kFloat = 7;  // ncclDataType_t
  static constexpr int kSum = 0, kMax = 2;                 // ncclRedOp_t

  // `stream` is a cudaStream_t.
  int (*get_version)(int*) = nullptr;
  int (*get_unique_id)(NcclId*) = nullptr;
  int (*init_rank)(NcclCommunicator*, int ranks, NcclId id, int rank) = nullptr;
  int (*destroy)(NcclCommunicator) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*all_reduce)(const void*, void*, std::size_t, int type, int op, NcclCommunicator, void* stream) = nullptr;
  int (*all_gather)(const void*, void*, std::size_t, int type, NcclCommunicator, void* stream) = nullptr;
  int (*reduce_scatter)(const void*, void*, std::size_t, int type, int op, NcclCommunicator, void* stream) = nullptr;
  int (*broadcast)(const void*, void*, std::size_t, int type, int root, NcclCommunicator, void* stream) = nullptr;
  int (*send)(const void*, std::size_t, int type, int peer, NcclCommunicator, void* stream) = nullptr;
  int (*receive)(void*, std::size_t, int type, int peer, NcclCommunicator, void* stream) = nullptr;
  const char* (*error_string)(int) = nullptr;

  bool complete = false;
  SharedLibrary library;
};

/// Writes the id so that a reader sees all of it or no file. False when it cannot.
bool write_id_file(const std::string& path, const NcclId& id);
/// Waits up to `seconds` for the file. False when it does not come.
bool read_id_file(const std::string& path, NcclId& id, int seconds);

}  // namespace moesim::calibrate
