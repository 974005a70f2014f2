#include "config/file_hash.h"

#include <fmt/core.h>

#include <cstdint>
#include <fstream>
#include <vector>

#include "config/json_reader.h"

namespace moesim {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t offset_basis = 0xcbf29ce484222325u;

std::uint64_t continued(std::uint64_t hash, std::string_view bytes) {
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

std::string digits(std::uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

}  // namespace

std::string hash_of(std::string_view bytes) {
  return digits(continued(offset_basis, bytes));
}

std::string hash_of_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return {};
  std::uint64_t hash = offset_basis;
  std::vector<char> piece(std::size_t{1} << 20);
  while (in) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash = continued(hash, {piece.data(), static_cast<std::size_t>(in.gcount())});
  }
  return digits(hash);
}

std::string shown_path(const fs::path& path) {
  std::error_code ignored;
  const fs::path whole = fs::absolute(path, ignored).lexically_normal();
  for (const fs::path& root : {product_root(), fs::current_path(ignored)}) {
    const fs::path below = whole.lexically_relative(fs::absolute(root, ignored).lexically_normal());
    if (!below.empty() && *below.begin() != "..") return below.generic_string();
  }
  return path.filename().generic_string();
}

}  // namespace moesim
