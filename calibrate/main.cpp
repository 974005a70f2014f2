#include <fmt/core.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "device/gpu_bench.h"
#include "program.h"

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + (argc > 0 ? 1 : 0), argv + argc);
  try {
    return moesim::calibrate::run_program(words, moesim::calibrate::open_gpu_bench);
  } catch (const std::exception& error) {
    fmt::print(stderr, "moesim-calibrate: internal error: {}\n", error.what());
    return 70;
  }
}
