#pragma once
// The names by which engines call the exchange of a MoE layer, and what each means here.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "collectives/collective_cost.h"

namespace moesim {

/// Which kernels the steps of an engine use: those with a prompt in them, and those that only decode.
struct ExchangeChoice {
  MoeBackend prefill = MoeBackend::none, decode = MoeBackend::none;
  bool operator==(const ExchangeChoice&) const = default;
};

struct ExchangeName {
  std::string_view name;
  std::string_view engine;               ///< whose word it is
  std::optional<ExchangeChoice> choice;  ///< empty: known, but not built
  bool has_modes = false;                ///< SGLang's --deepep-mode chooses between its kernels
  std::string_view meaning;
  std::string_view source;
};

/// vLLM's `--all2all-backend` and SGLang's `--moe-a2a-backend`, vLLM's first.
std::span<const ExchangeName> exchange_names();
/// The row, or null.
const ExchangeName* find_exchange_name(std::string_view name);

/// All names, and those that are not built, blank-separated as the table of scenario fields wants them.
const std::string& exchange_words();
const std::string& unbuilt_exchange_words();

}  // namespace moesim
