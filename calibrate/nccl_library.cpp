#include "nccl_library.h"

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

namespace moesim::calibrate {

NcclLibrary NcclLibrary::load() {
  NcclLibrary nccl;
  nccl.library = SharedLibrary({"libnccl.so.2", "libnccl.so"});
  nccl.complete = static_cast<bool>(nccl.library);
  const auto find = [&](const char* name, auto& function) {
    nccl.library.find(name, function);
    nccl.complete = nccl.complete && function != nullptr;
  };
  find("ncclGetVersion", nccl.get_version);
  find("ncclGetUniqueId", nccl.get_unique_id);
  find("ncclCommInitRank", nccl.init_rank);
  find("ncclCommDestroy", nccl.destroy);
  find("ncclGroupStart", nccl.group_start);
  find("ncclGroupEnd", nccl.group_end);
  find("ncclAllReduce", nccl.all_reduce);
  find("ncclAllGather", nccl.all_gather);
  find("ncclReduceScatter", nccl.reduce_scatter);
  find("ncclBroadcast", nccl.broadcast);
  find("ncclSend", nccl.send);
  find("ncclRecv", nccl.receive);
  find("ncclGetErrorString", nccl.error_string);
  return nccl;
}

std::string NcclLibrary::version() const {
  int code = 0;
  if (!complete || get_version(&code) != 0) return {};
  return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
}

bool write_id_file(const std::string& path, const NcclId& id) {
  const std::string partial = path + ".part";
  {
    std::ofstream file(partial, std::ios::binary);
    file.write(id.bytes, sizeof id.bytes);
    if (!file.flush()) return false;
  }
  return std::rename(partial.c_str(), path.c_str()) == 0;
}

bool read_id_file(const std::string& path, NcclId& id, int seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  do {
    std::error_code error;
    if (std::filesystem::file_size(path, error) == sizeof id.bytes && !error) {
      std::ifstream file(path, std::ios::binary);
      if (file.read(id.bytes, sizeof id.bytes)) return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace moesim::calibrate
