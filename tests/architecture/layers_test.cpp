// The include directions of docs/layers.txt, the places of heavy headers, and words that mark unfinished work.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path root = MOESIM_SOURCE_DIR;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// The folders of sim/, first to last.
std::vector<std::string> layers() {
  std::vector<std::string> names;
  for (const std::string& line : lines_of(root / "docs" / "layers.txt")) {
    if (!line.empty() && line[0] != '#') names.push_back(line);
  }
  return names;
}

/// The place of a folder in `names`; names.size() when it is not there.
std::size_t place(const std::vector<std::string>& names, std::string_view folder) {
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), folder) - names.begin());
}

struct Include {
  fs::path file;      ///< relative to sim/
  std::string layer;  ///< first folder of `file`
  std::string header;
  bool quoted = false;
};

/// What an include line names; empty for any other line.
Include parsed(const std::string& line) {
  const auto start = line.find_first_not_of(" \t");
  if (start == std::string::npos || line[start] != '#') return {};
  const auto word = line.find_first_not_of(" \t", start + 1);
  if (word == std::string::npos || line.compare(word, 7, "include") != 0) return {};
  const auto open = line.find_first_of("\"<", word + 7);
  if (open == std::string::npos) return {};
  const bool quoted = line[open] == '"';
  const auto close = line.find(quoted ? '"' : '>', open + 1);
  if (close == std::string::npos) return {};
  return {.file = {}, .layer = {}, .header = line.substr(open + 1, close - open - 1), .quoted = quoted};
}

/// Every include of every file under sim/.
std::vector<Include> includes() {
  std::vector<Include> found;
  for (const auto& entry : fs::recursive_directory_iterator(root / "sim")) {
    const std::string suffix = entry.path().extension();
    if (suffix != ".h" && suffix != ".cpp") continue;
    const fs::path file = entry.path().lexically_relative(root / "sim");
    for (const std::string& line : lines_of(entry.path())) {
      Include include = parsed(line);
      if (include.header.empty()) continue;
      include.file = file;
      include.layer = file.begin()->string();
      found.push_back(include);
    }
  }
  return found;
}

std::string first_folder(const std::string& header) {
  return header.substr(0, header.find('/'));
}

TEST(Layers, EveryFolderOfSimIsListedOnce) {
  const auto names = layers();
  ASSERT_FALSE(names.empty());
  for (const auto& entry : fs::directory_iterator(root / "sim")) {
    EXPECT_EQ(std::count(names.begin(), names.end(), entry.path().filename().string()), 1) << entry.path();
  }
}

TEST(Layers, NoIncludeRunsBackUp) {
  const auto names = layers();
  const auto all = includes();
  ASSERT_GT(all.size(), 50u);
  for (const Include& include : all) {
    if (!include.quoted) continue;
    const std::string target = first_folder(include.header);
    ASSERT_LT(place(names, target), names.size())
        << include.file << " includes \"" << include.header << "\", of no folder of docs/layers.txt";
    EXPECT_LE(place(names, target), place(names, include.layer))
        << include.file << " includes \"" << include.header << "\", of a later layer";
  }
}

TEST(Layers, QuotedIncludesNameFilesOfSim) {
  for (const Include& include : includes()) {
    if (include.quoted) {
      EXPECT_TRUE(fs::exists(root / "sim" / include.header)) << include.file << " includes " << include.header;
    }
  }
}

TEST(Layers, HeavyHeadersStayInTheirFolders) {
  for (const Include& include : includes()) {
    const auto starts = [&](std::string_view prefix) { return include.header.compare(0, prefix.size(), prefix) == 0; };
    if (starts("nlohmann/") && include.header != "nlohmann/json_fwd.hpp") {
      EXPECT_TRUE(include.layer == "config" || include.layer == "report" || include.layer == "cli") << include.file;
      EXPECT_EQ(include.file.extension(), ".cpp") << include.file << " includes " << include.header;
    }
    if (starts("boost/graph/")) {
      EXPECT_EQ(include.layer, "network") << include.file;
    }
    if (starts("boost/program_options")) {
      EXPECT_EQ(include.layer, "cli") << include.file;
    }
  }
}

TEST(Layers, SimNeedsNeitherCudaNorNccl) {
  for (const Include& include : includes()) {
    for (const std::string_view word : {"cuda", "cublas", "cudnn", "cutlass", "nccl", "nvml", "nvshmem"}) {
      EXPECT_EQ(include.header.find(word), std::string::npos) << include.file << " includes " << include.header;
    }
  }
}

TEST(Layers, TheModelOpensNoFilesAndStartsNoThreads) {
  // Rule 10: core to serving can be compiled to WebAssembly.
  const auto names = layers();
  const auto last = place(names, "serving");
  ASSERT_LT(last, names.size());
  for (const Include& include : includes()) {
    if (place(names, include.layer) > last) continue;
    for (const std::string_view header : {"thread", "mutex", "future", "fstream", "filesystem", "iostream", "ranges"}) {
      EXPECT_NE(include.header, header) << include.file;
    }
  }
}

TEST(Repository, HoldsNoWordsOfUnfinishedWork) {
  // Put together here, so that this file does not hold them.
  const std::vector<std::string> words = {std::string("TO") + "DO", std::string("FIX") + "ME"};
  const std::vector<std::string> suffixes = {".h",    ".cpp",  ".cu", ".cuh",  ".md",    ".txt",
                                             ".json", ".yaml", ".py", ".bash", ".cmake", ""};
  std::size_t files = 0;
  for (auto entry = fs::recursive_directory_iterator(root); entry != fs::recursive_directory_iterator(); ++entry) {
    const std::string name = entry->path().filename();
    if (entry->is_directory()) {
      // What a build or an editor made is not part of the repository.
      const bool made = name == ".git" || name.compare(0, 5, "build") == 0 || (name[0] == '.' && name != ".ci");
      if (made) entry.disable_recursion_pending();
      continue;
    }
    if (std::find(suffixes.begin(), suffixes.end(), entry->path().extension()) == suffixes.end()) continue;
    ++files;
    const std::string text = text_of(entry->path());
    for (const std::string& word : words) {
      EXPECT_EQ(text.find(word), std::string::npos) << entry->path() << " holds " << word;
    }
  }
  EXPECT_GT(files, 50u);
}

}  // namespace
