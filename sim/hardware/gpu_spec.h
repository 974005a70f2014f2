#pragma once
// One accelerator as its datasheet describes it. Rates are dense, per direction; zero means "not supported".

#include <string>
#include <vector>

#include "core/data_type.h"
#include "core/units.h"

namespace moesim {

struct GpuSpec {
  std::string id;    ///< lower case with underscores: h100_sxm
  std::string name;  ///< as the vendor writes it
  std::string vendor;
  std::string architecture;  ///< ampere, ada, hopper, blackwell, cdna3, ...
  Bytes memory;              ///< what the driver reports as total
  BytesPerSecond memory_bandwidth;
  FlopsPerSecond fp32, bf16, fp8, int8, fp4;   ///< dense peaks of the matrix units (fp32: vector units)
  FlopsPerSecond bf16_measured, fp8_measured;  ///< best matmul that anyone measured; 0 when unknown
  Bytes l2;                                    ///< 0 when unknown
  int multiprocessors = 0;
  BytesPerSecond scale_up;           ///< all scale-up links of one GPU together, one way
  BytesPerSecond scale_up_peer;      ///< to one peer; equal to scale_up behind a switch
  BytesPerSecond host_link;          ///< PCIe or C2C to the host, one way
  double power_watts = 0;            ///< of the board
  double price_usd_per_hour = 0;     ///< midpoint of the listed range; 0 when unknown
  std::vector<std::string> aliases;  ///< other spellings that name this GPU
  std::string source;
};

/// Dense matrix peak for `type` operands; falls back to the next wider supported format (a GPU without fp8 runs fp8
/// weights at its bf16 rate). int4 weights are widened to 16 bits. fp32 runs on the vector units.
FlopsPerSecond matrix_peak(const GpuSpec& gpu, DataType type);

}  // namespace moesim
