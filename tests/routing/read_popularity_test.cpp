#include "config/read_popularity.h"

#include <gtest/gtest.h>

#include <fstream>

#include "config/json_reader.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

class PopularityFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("moesim_popularity_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    moe_.experts = 4;
    moe_.top_k = 2;
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  /// The error of reading `text` for two layers, without the folder, and its exit code.
  std::pair<std::string, int> error_of(const std::string& name, const std::string& text) const {
    const fs::path path = write(name, text);
    try {
      read_popularity(path, moe_, 2);
    } catch (const ConfigError& error) {
      const std::string line = error.what();
      const std::string folder = folder_.string() + "/";
      return {line.starts_with(folder) ? line.substr(folder.size()) : line, error.exit_code()};
    }
    return {"no error", 0};
  }
  fs::path folder_;
  MoeSpec moe_;
};

using Table = std::vector<std::vector<double>>;
using Error = std::pair<std::string, int>;

TEST_F(PopularityFile, CsvHoldsARowALayerAfterOptionalNames) {
  const Table expected = {{1, 2, 3, 4}, {0.5, 0.5, 0.5, 0.5}};
  EXPECT_EQ(read_popularity(write("a.csv", "1,2,3,4\n0.5, 0.5,0.5,0.5\n"), moe_, 2), expected);
  EXPECT_EQ(read_popularity(write("b.csv", "e0,e1,e2,e3\n1,2,3,4\n0.5,0.5,0.5,0.5\n"), moe_, 2), expected);
}

TEST_F(PopularityFile, JsonHoldsTheSameBareOrNamed) {
  const Table expected = {{1, 2, 3, 4}};
  EXPECT_EQ(read_popularity(write("a.json", "[[1, 2, 3, 4]]"), moe_, 2), expected);
  EXPECT_EQ(read_popularity(write("b.json", R"({"source": "counted", "popularity": [[1, 2, 3, 4]]})"), moe_, 2),
            expected);
}

TEST_F(PopularityFile, ErrorsNameTheLineAndWhatWasExpected) {
  EXPECT_EQ(error_of("a.csv", "1,2,3,4\n1,x,3,4\n"),
            Error("a.csv:2: column 2 is 'x'; expected a number from 0 to 1e18", 4));
  EXPECT_EQ(error_of("b.csv", "1,2,3,4\n1,-2,3,4\n"),
            Error("b.csv:2: column 2 is '-2'; expected a number from 0 to 1e18", 4));
  EXPECT_EQ(error_of("c.csv", "1,2,3\n"), Error("c.csv:1: has 3 numbers; expected one an expert, 4", 4));
  EXPECT_EQ(error_of("d.csv", "1,0,0,0\n"),
            Error("d.csv:1: has 1 positive numbers; expected at least 2, the experts of a token", 4));
  EXPECT_EQ(error_of("e.csv", "1,2,3,4\n1,2,3,4\n1,2,3,4\n"),
            Error("e.csv:3: is row 3; expected 1 or 2, a row a MoE layer", 4));
  EXPECT_EQ(error_of("f.csv", ""), Error("f.csv: has 0 rows; expected 1 or 2, a row a MoE layer", 4));
  EXPECT_EQ(error_of("g.json", "[[1, 2, 3]]"), Error("g.json: /0: has 3 numbers; expected one an expert, 4", 4));
}

TEST_F(PopularityFile, AMissingFileIsExitCode3) {
  try {
    read_popularity(folder_ / "none.csv", moe_, 2);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 3);
  }
}

}  // namespace
}  // namespace moesim
