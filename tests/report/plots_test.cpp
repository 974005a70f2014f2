// Files on disk: plots and whole writes.

#include "report/plots.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "report/output_file.h"
#include "report/sample_result.h"

namespace moesim {
namespace {

namespace fs = std::filesystem;

class OutputFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("moesim-output-" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string text_of(const std::string& name) const {
    std::ifstream in(folder_ / name);
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) found.push_back(entry.path().filename());
    std::sort(found.begin(), found.end());
    return found;
  }

  fs::path folder_;
};

TEST_F(OutputFolder, HoldsWholeFilesOnly) {
  EXPECT_EQ(write_file_atomically(folder_ / "a" / "b.txt", "one"), "");
  EXPECT_EQ(write_file_atomically(folder_ / "a" / "b.txt", "two"), "");
  EXPECT_EQ(text_of("a/b.txt"), "two");
  folder_ /= "a";
  EXPECT_EQ(names(), std::vector<std::string>{"b.txt"});
  // A file where a folder should be.
  const std::string problem = write_file_atomically(folder_ / "b.txt" / "c.txt", "three");
  EXPECT_TRUE(problem.starts_with((folder_ / "b.txt" / "c.txt").string() + ": cannot be written: ")) << problem;
  EXPECT_EQ(names(), std::vector<std::string>{"b.txt"});
  folder_ = folder_.parent_path();
}

TEST_F(OutputFolder, HoldsPlotsThatAreWholeSvg) {
  if (!gnuplot_found()) GTEST_SKIP() << "gnuplot is not installed";
  RunResult result = sample_result();
  result.scenario_name = "quotes \" and ' and \\ and _{x}";
  EXPECT_EQ(plot_latency(result, folder_ / "latency.svg"), "");
  EXPECT_EQ(plot_step_time(result, folder_ / "step_time.svg"), "");
  const RunResult results[] = {result, sample_result(), sample_result()};
  EXPECT_EQ(plot_comparison(results, folder_ / "compare.svg"), "");
  EXPECT_EQ(names(), (std::vector<std::string>{"compare.svg", "latency.svg", "step_time.svg"}));
  for (const std::string& name : names()) {
    const std::string svg = text_of(name);
    EXPECT_NE(svg.find("<svg"), std::string::npos) << name;
    EXPECT_NE(svg.find("</svg>"), std::string::npos) << name;
  }
  EXPECT_NE(text_of("latency.svg").find("Time to first token"), std::string::npos);
  EXPECT_NE(text_of("step_time.svg").find("step time (ms)"), std::string::npos);
  EXPECT_NE(text_of("compare.svg").find("Where the time goes"), std::string::npos);
}

TEST_F(OutputFolder, HoldsNoPlotOfNothing) {
  EXPECT_EQ(plot_latency(RunResult(), folder_ / "latency.svg"), "");
  EXPECT_EQ(plot_step_time(RunResult(), folder_ / "step_time.svg"), "");
  EXPECT_FALSE(fs::exists(folder_));
}

}  // namespace
}  // namespace moesim
