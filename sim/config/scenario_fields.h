#pragma once
// Every field of a scenario, once: what it may be, its default, what it means, and whether it is built. The reader,
// `--set`, the JSON Schema for editors and docs/scenario.md are all made from this table.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "config/json_reader.h"

namespace moesim {

enum class FieldType {
  object,    ///< its members are rows of the table
  document,  ///< an object that another reader checks
  file_or_document,
  text,
  text_or_list,  ///< a text, or a list of them
  boolean,
  integer,
  number,
  duration,
  rate,
  price,
  power,
  format,
  choice,
  list
};

struct ScenarioField {
  std::string_view pointer;  ///< /engine/max_num_seqs
  FieldType type = FieldType::object;
  std::string_view fallback;        ///< when absent: a JSON value, or words in brackets; empty: it must be given
  std::string_view meaning;         ///< one sentence
  std::string_view choices = {};    ///< blank-separated
  double low = 0, high = 0;         ///< of numbers, inclusive
  std::string_view only_with = {};  ///< the values of the `kind` beside it that take this field, blank-separated
  std::string_view not_built = {};  ///< values that are read but not built, blank-separated; "*" any but the default
};

/// In the order in which documents list them; every object stands before its members.
std::span<const ScenarioField> scenario_fields();
/// The row, or null.
const ScenarioField* find_scenario_field(std::string_view pointer);

/// Checks the whole document: unknown keys (with the nearest known one), types, units, ranges, fields of another
/// kind, and what is not built yet (exit 2). Missing fields are found by whoever needs them.
void check_scenario_fields(const JsonReader& root);

/// Sets one field of the document; `value` is JSON, else a string. Any field of the table, present or not; below an
/// inline model or cluster, and below the elements of a list (/program/0/bytes), any pointer. null removes it. Choosing
/// another `kind` drops the fields of the former one, and a trace the generated workload. Throws ConfigError that names
/// `--set`.
void set_scenario_field(nlohmann::ordered_json& document, const std::string& pointer, const std::string& value);

/// The JSON Schema (draft 2020-12) and the reference page, from the table.
std::string scenario_schema();
std::string scenario_reference();

}  // namespace moesim
