// The launcher on a machine that lacks the packages: a PATH of links to basic tools, without compiler or CMake.

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

namespace fs = std::filesystem;

struct Outcome {
  int exit_code = 0;
  std::string output;
};

Outcome run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  Outcome outcome;
  std::array<char, 4096> buffer;
  for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    outcome.output.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

/// A copy of the launcher beside one source, under a path with a space; removed at the end.
class Launcher : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "moesim launcher XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    const fs::path root = MOESIM_SOURCE_DIR;
    fs::create_directories(folder_ / "tree" / ".ci");
    fs::create_directories(folder_ / "tree" / "sim");
    fs::create_directories(folder_ / "tree" / "docs");
    fs::create_directories(folder_ / "bin");
    for (const char* file : {"moesim", ".ci/install", ".ci/packages", "CMakeLists.txt", "docs/layers.txt"}) {
      fs::copy_file(root / file, folder_ / "tree" / file);
    }
    for (const char* tool : {"bash", "env", "mkdir", "find", "flock", "mktemp", "rm", "grep", "tail", "cat", "mv"}) {
      for (const char* place : {"/usr/bin", "/bin"}) {
        if (!fs::exists(fs::path(place) / tool)) continue;
        fs::create_symlink(fs::path(place) / tool, folder_ / "bin" / tool);
        break;
      }
    }
    program("dpkg-query", "exit 1");
    program("apt-get", "exit 1");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void program(const std::string& name, const std::string& body) {
    std::ofstream(folder_ / "bin" / name) << "#!/bin/bash\n" << body << '\n';
    fs::permissions(folder_ / "bin" / name, fs::perms::owner_all);
  }
  Outcome start(const std::string& arguments) {
    return run("cd / && PATH='" + (folder_ / "bin").string() + "' '" + (folder_ / "tree" / "moesim").string() + "' " +
               arguments);
  }

  fs::path folder_;
};

TEST_F(Launcher, SaysWhichPackagesAreMissingAndExitsWithThree) {
  const Outcome outcome = start("run scenario.json");
  EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
  const std::string line =
      "apt-get install -y --no-install-recommends g++ cmake ninja-build libboost-dev libboost-graph-dev "
      "libboost-program-options-dev nlohmann-json3-dev libfmt-dev";
  EXPECT_NE(outcome.output.find(line), std::string::npos) << outcome.output;
  EXPECT_EQ(outcome.output.find("libgtest-dev"), std::string::npos) << outcome.output;
}

TEST_F(Launcher, AsksForTheTestPackagesOnlyForTests) {
  const Outcome outcome = start("test");
  EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
  EXPECT_NE(outcome.output.find("libgtest-dev"), std::string::npos) << outcome.output;
}

TEST_F(Launcher, NeedsNvccToMeasure) {
  setenv("CUDA_HOME", "/nowhere", 1);
  const Outcome outcome = start("calibrate kernels -o my.csv");
  unsetenv("CUDA_HOME");
  EXPECT_EQ(outcome.exit_code, 3) << outcome.output;
  EXPECT_NE(outcome.output.find("calibrate needs nvcc"), std::string::npos) << outcome.output;
}

TEST_F(Launcher, StartsAProgramThatIsUpToDateWithoutBuilding) {
  // No compiler on the PATH: it could not build.
  const fs::path build = folder_ / "tree" / "build" / "release";
  fs::create_directories(build);
  std::ofstream(build / "moesim") << "#!/bin/bash\nprintf '%s|' \"$MOESIM_ROOT\" \"$@\"\nexit 5\n";
  fs::permissions(build / "moesim", fs::perms::owner_all);
  const std::string tree = fs::canonical(folder_ / "tree");
  std::ofstream(build / "built_from") << tree << '\n';
  const auto now = fs::last_write_time(build / "built_from");
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "tree")) {
    if (entry.path() != build / "built_from") fs::last_write_time(entry.path(), now - std::chrono::seconds(10));
  }
  const Outcome same = start("run 'a b' --json");
  EXPECT_EQ(same.output, tree + "|run|a b|--json|");
  EXPECT_EQ(same.exit_code, 5);

  std::ofstream(folder_ / "tree" / "sim" / "new.cpp") << "\n";
  fs::last_write_time(folder_ / "tree" / "sim" / "new.cpp", now + std::chrono::seconds(10));
  EXPECT_EQ(start("run").exit_code, 3);
}

}  // namespace
