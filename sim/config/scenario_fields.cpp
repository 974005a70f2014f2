#include "config/scenario_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "config/exchange_names.h"
#include "config/set_below.h"

namespace moesim {

namespace {

using nlohmann::ordered_json;

constexpr double most = 1e9;

const ScenarioField fields[] = {
    {"/$schema", FieldType::text, "[none]", "The JSON Schema of this file, for editors."},
    {"/name", FieldType::text, "[the file's name]", "What results call this scenario."},
    {"/mode",
     FieldType::choice,
     "\"serving\"",
     "What is simulated: requests that an engine serves, or the transfers of a program on the network.",
     "serving training network",
     0,
     0,
     {},
     "training"},
    {"/model", FieldType::file_or_document, "",
     "A Hugging Face config.json, used as it is: a file, the name of a file of models/, or an inline object."},
    {"/cluster", FieldType::file_or_document, "",
     "A file of topologies/cluster, or an inline object; docs/cluster.md explains its fields."},
    {"/nodes", FieldType::integer, "[as the cluster says]", "Machines of the cluster.", {}, 1, 65536},
    {"/calibration", FieldType::text_or_list, "\"auto\"",
     "Measured constants: auto (by GPU and engine), roofline, or a file of kernels or of collectives; or a list of "
     "such files, for example what moesim fit wrote. What a file lacks is as with auto."},
    {"/program", FieldType::list, "[none]",
     "Mode network: what runs side by side, each {name, start} and one of {collective, ranks, bytes, algorithm, "
     "protocol}, {exchange, direction, ranks, tokens, hidden, experts, top_k, popularity, ...}, {transfer: whole or "
     "by_layers, from, to, layer_bytes, layers, compute}. See docs/network.md."},
    {"/precision", FieldType::object, "{}", "Number formats; each overrides what the model's config.json says."},
    {"/precision/weights", FieldType::format, "[the model's]",
     "All linear weights but experts given apart; embedding, head and router keep theirs."},
    {"/precision/experts", FieldType::format, "[weights]", "Routed and shared experts."},
    {"/precision/attention", FieldType::format, "[weights]", "Attention projections."},
    {"/precision/activations", FieldType::format, "[fp8 with fp8 weights, else bf16]", "Inputs of matrix products."},
    {"/precision/kv_cache", FieldType::format, "\"bf16\"", "Cached keys and values, or latents."},
    {"/engine", FieldType::object, "{}", "The serving engine, in vLLM's names; limits are per data-parallel rank."},
    {"/engine/preset", FieldType::choice, "\"vllm\"",
     "Whose host times, fused kernels and measured kernels are used. Parallel sizes mean what vLLM means by them under "
     "every preset: SGLang's --tp 16 --dp 16 --enable-dp-attention is tensor_parallel_size 1, data_parallel_size 16.",
     "vllm sglang trtllm"},
    {"/engine/tensor_parallel_size", FieldType::integer, "1", "GPUs that share each layer.", {}, 1, 65536},
    {"/engine/pipeline_parallel_size", FieldType::integer, "1", "Stages of layers.", {}, 1, 1024},
    {"/engine/data_parallel_size",
     FieldType::integer,
     "1",
     "Ranks with a batch and a cache of their own.",
     {},
     1,
     65536},
    {"/engine/enable_expert_parallel", FieldType::boolean, "false",
     "Whole experts on TP x DP ranks; false: every expert is cut over them."},
    {"/engine/expert_parallel_size",
     FieldType::integer,
     "[TP x DP with enable_expert_parallel, else 1]",
     "Ranks over which whole experts are spread; each expert is cut over the others. SGLang's --ep-size, "
     "TensorRT-LLM's "
     "moe_ep.",
     {},
     1,
     65536},
    {"/engine/replicas", FieldType::integer, "1", "Independent copies of the engine.", {}, 1, 65536},
    {"/engine/max_num_seqs",
     FieldType::integer,
     "[1024 from 70 GiB on, A100 excepted, else 256]",
     "Sequences of a step.",
     {},
     1,
     1e6},
    {"/engine/max_num_batched_tokens",
     FieldType::integer,
     "[8192 from 70 GiB on, A100 excepted, else 2048]",
     "Tokens of a step.",
     {},
     1,
     1e8},
    {"/engine/max_model_len", FieldType::integer, "[the model's]", "Longest request, input and output.", {}, 1, most},
    {"/engine/enable_chunked_prefill", FieldType::boolean, "true", "Cut long prompts to the token budget of a step."},
    {"/engine/block_size", FieldType::integer, "16", "Tokens of a cache block.", {}, 1, 4096},
    {"/engine/gpu_memory_utilization",
     FieldType::number,
     "0.9",
     "Share of a GPU's memory for weights, activations and cache.",
     {},
     0.01,
     1},
    {"/engine/all2all_backend",
     FieldType::choice,
     "\"allgather_reducescatter\"",
     "How experts exchange tokens between data-parallel ranks: vLLM's --all2all-backend or SGLang's "
     "--moe-a2a-backend; without such ranks nothing is exchanged.",
     exchange_words(),
     0,
     0,
     {},
     unbuilt_exchange_words()},
    {"/engine/deepep_mode", FieldType::choice, "\"auto\"",
     "SGLang's --deepep-mode, with all2all_backend deepep: normal kernels, low-latency kernels, or low latency in the "
     "steps that hold no prompt.",
     "auto normal low_latency"},
    {"/engine/max_dispatch_tokens_per_rank",
     FieldType::integer,
     "[256, SGLang 128]",
     "Tokens that a rank sends in one round of a low-latency exchange; a larger step goes in rounds. vLLM's "
     "VLLM_MOE_DP_CHUNK_SIZE, SGLang's SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK (which refuses larger steps).",
     {},
     1,
     1e6},
    {"/engine/num_redundant_experts", FieldType::integer, "0", "More copies of experts in a layer.", {}, 0, 65536},
    {"/engine/async_scheduling", FieldType::boolean, "false",
     "The host schedules a step while the device computes the one before."},
    {"/engine/enforce_eager", FieldType::boolean, "false", "No CUDA graphs: the host launches every kernel."},
    {"/engine/load_balancing", FieldType::choice, "\"round_robin\"", "Which replica takes the next request.",
     "round_robin least_loaded"},
    {"/engine/host", FieldType::object, "[of the preset]", "Time on the host."},
    {"/engine/host/step", FieldType::duration, "[of the preset]", "Scheduling of a step."},
    {"/engine/host/per_sequence", FieldType::duration, "[of the preset]", "More for each sequence of the step."},
    {"/engine/host/request", FieldType::duration, "[of the preset]", "Front end, a request."},
    {"/engine/host/per_input_token", FieldType::duration, "[of the preset]", "Tokenizer, an input token."},
    {"/engine/host/detokenize", FieldType::duration, "[of the preset]", "From the device to the client, a token."},
    {"/engine/enable_prefix_caching", FieldType::boolean, "false", "Reuse of cached prefixes.", {}, 0, 0, {}, "true"},
    {"/engine/enable_dbo", FieldType::boolean, "false", "Two batches that overlap.", {}, 0, 0, {}, "true"},
    {"/engine/speculative_config", FieldType::document, "[none]", "Speculative decoding.", {}, 0, 0, {}, "*"},
    {"/engine/kv_transfer_config", FieldType::document, "[none]", "Prefill and decode apart.", {}, 0, 0, {}, "*"},
    {"/pools", FieldType::list, "[one pool]", "Several pools of engines.", {}, 0, 0, {}, "*"},
    {"/routing", FieldType::object, "{}", "The load that the gates produce."},
    {"/routing/popularity", FieldType::object, "{\"kind\": \"zipf\", \"exponent\": 0.2}",
     "How often each expert is chosen; every layer has its own order."},
    {"/routing/popularity/kind", FieldType::choice, "\"zipf\"", "The law of expert popularity.",
     "uniform zipf lognormal dirichlet file"},
    {"/routing/popularity/exponent",
     FieldType::number,
     "0.2",
     "p_r ~ r^-exponent: 0.2 for mixed traffic, 0.9 for one user or task.",
     {},
     0,
     10,
     "zipf"},
    {"/routing/popularity/sigma",
     FieldType::number,
     "0.5",
     "Standard deviation of log popularity.",
     {},
     0,
     10,
     "lognormal"},
    {"/routing/popularity/concentration",
     FieldType::number,
     "1",
     "Common alpha; large is uniform.",
     {},
     1e-3,
     1e6,
     "dirichlet"},
    {"/routing/popularity/file",
     FieldType::text,
     "",
     "A row a MoE layer, or one for all, of inclusion probabilities or counts: JSON or CSV.",
     {},
     0,
     0,
     "file"},
    {"/routing/resolution", FieldType::choice, "\"counts\"",
     "What is drawn: tokens per expert, by source rank as well, or every token's experts.", "counts matrix token"},
    {"/routing/drift_per_hour", FieldType::number, "0", "Change of popularity with time.", {}, 0, 1e6, {}, "*"},
    {"/workload", FieldType::object, "", "The requests: generated, or a trace."},
    {"/workload/arrivals", FieldType::object, "", "When requests arrive."},
    {"/workload/arrivals/kind", FieldType::choice, "", "The law of arrivals.", "poisson gamma constant closed batch"},
    {"/workload/arrivals/rate", FieldType::rate, "", "Mean rate.", {}, 0, 0, "poisson gamma constant"},
    {"/workload/arrivals/burstiness",
     FieldType::number,
     "1",
     "Shape of gamma arrivals; 1 is Poisson, less is burstier.",
     {},
     1e-3,
     1e6,
     "gamma"},
    {"/workload/arrivals/concurrency", FieldType::integer, "", "Requests in flight.", {}, 1, 1e7, "closed"},
    {"/workload/input_tokens", FieldType::object, "", "Lengths of the prompts."},
    {"/workload/input_tokens/kind", FieldType::choice, "", "The law of the lengths.",
     "constant uniform lognormal file"},
    {"/workload/input_tokens/mean", FieldType::number, "", "Mean, or the value.", {}, 1, 1e8, "constant lognormal"},
    {"/workload/input_tokens/p99",
     FieldType::number,
     "",
     "99th percentile; gives the smaller sigma.",
     {},
     1,
     1e8,
     "lognormal"},
    {"/workload/input_tokens/low", FieldType::integer, "", "Shortest.", {}, 1, 1e8, "uniform"},
    {"/workload/input_tokens/high", FieldType::integer, "", "Longest.", {}, 1, 1e8, "uniform"},
    {"/workload/input_tokens/file",
     FieldType::text,
     "",
     "A CSV file whose lengths are drawn with replacement.",
     {},
     0,
     0,
     "file"},
    {"/workload/input_tokens/column", FieldType::text, "[the only one]", "Column of the file.", {}, 0, 0, "file"},
    {"/workload/output_tokens", FieldType::object, "", "Lengths of the answers."},
    {"/workload/output_tokens/kind", FieldType::choice, "", "The law of the lengths.",
     "constant uniform lognormal file"},
    {"/workload/output_tokens/mean", FieldType::number, "", "Mean, or the value.", {}, 1, 1e8, "constant lognormal"},
    {"/workload/output_tokens/p99",
     FieldType::number,
     "",
     "99th percentile; gives the smaller sigma.",
     {},
     1,
     1e8,
     "lognormal"},
    {"/workload/output_tokens/low", FieldType::integer, "", "Shortest.", {}, 1, 1e8, "uniform"},
    {"/workload/output_tokens/high", FieldType::integer, "", "Longest.", {}, 1, 1e8, "uniform"},
    {"/workload/output_tokens/file",
     FieldType::text,
     "",
     "A CSV file whose lengths are drawn with replacement.",
     {},
     0,
     0,
     "file"},
    {"/workload/output_tokens/column", FieldType::text, "[the only one]", "Column of the file.", {}, 0, 0, "file"},
    {"/workload/requests", FieldType::integer, "[a trace: all]", "How many; with a trace at most so many.", {}, 1, 1e9},
    {"/workload/trace", FieldType::text, "[none]", "A file of requests to replay, instead of generated ones."},
    {"/workload/format", FieldType::choice, "", "Of the trace.", "mooncake azure burstgpt jsonl csv"},
    {"/workload/time_unit", FieldType::choice, "[ms for mooncake, else s]", "Of the trace's time stamps.",
     "s ms us ns"},
    {"/workload/speed", FieldType::number, "1", "The trace's clock runs so many times faster.", {}, 1e-6, 1e9},
    {"/slo", FieldType::object, "{}", "Limits that a request must hold to count as goodput."},
    {"/slo/ttft", FieldType::duration, "[none]", "Time to first token."},
    {"/slo/tpot", FieldType::duration, "[none]", "Time per output token."},
    {"/slo/e2el", FieldType::duration, "[none]", "Latency of the whole request."},
    {"/price", FieldType::object, "{}", "What the hardware costs."},
    {"/price/gpu_hour", FieldType::price, "[none]", "One GPU for one hour."},
    {"/power", FieldType::object, "{}", "What the GPUs draw."},
    {"/power/clocks", FieldType::choice, "\"locked\"",
     "locked: the clocks at which kernels were measured; sustained: a step that would draw more than the limit runs "
     "slower.",
     "locked sustained"},
    {"/power/limit", FieldType::power, "[the board power]", "Mean power that a GPU keeps, as set by nvidia-smi -pl."},
    {"/seed", FieldType::integer, "1", "Of every random stream.", {}, 0, 9.0e15},
    {"/network", FieldType::choice, "\"closed_form\"",
     "Time of collectives and exchanges: closed forms, or every transfer on the links, shared max-min fairly.",
     "closed_form flow"},
    {"/strides", FieldType::boolean, "true", "Steps that do not change are passed at once; results are the same."},
};

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) words.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

bool contains_word(std::string_view text, std::string_view word) {
  const auto words = words_of(text);
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string_view parent_of(std::string_view pointer) {
  return pointer.substr(0, pointer.rfind('/'));
}
std::string_view last_of(std::string_view pointer) {
  return pointer.substr(pointer.rfind('/') + 1);
}

std::vector<const ScenarioField*> members_of(std::string_view pointer) {
  std::vector<const ScenarioField*> members;
  for (const ScenarioField& field : fields) {
    if (parent_of(field.pointer) == pointer) members.push_back(&field);
  }
  return members;
}

void check_value(const JsonReader& value, const ScenarioField& field);

/// "unknown field; did you mean x?": the nearest sibling, else the same name in another section, else the siblings.
[[noreturn]] void fail_unknown(const JsonReader& field, std::string_view key, std::string_view parent) {
  std::vector<std::string> siblings, tails;
  for (const ScenarioField* member : members_of(parent)) siblings.emplace_back(last_of(member->pointer));
  if (const auto near = nearest(key, siblings)) field.fail("unknown field; did you mean " + *near + "?");
  for (const ScenarioField& other : fields) tails.emplace_back(last_of(other.pointer));
  if (const auto near = nearest(key, tails)) {
    const auto row = std::find(tails.begin(), tails.end(), *near) - tails.begin();
    field.fail(fmt::format("unknown field; did you mean {}?", fields[row].pointer));
  }
  std::string list;
  for (const std::string& sibling : siblings) list.append(list.empty() ? "" : ", ").append(sibling);
  field.fail("unknown field; expected one of " + list);
}

void check_members(const JsonReader& object, std::string_view pointer) {
  const std::vector<std::string> keys = object.keys();
  std::string kind;
  for (const std::string& key : keys) {
    const std::string below = fmt::format("{}/{}", pointer, key);
    const ScenarioField* field = find_scenario_field(below);
    if (key.find('/') != std::string::npos || field == nullptr) {
      fail_unknown(JsonReader(object.json().at(key), object.file(), object.pointer() + "/" + key), key, pointer);
    }
    if (object.json().at(key).is_null()) continue;
    check_value(object.at(key), *field);
    if (key == "kind") kind = object.at(key).string();
  }
  if (const ScenarioField* row = find_scenario_field(fmt::format("{}/kind", pointer)); row != nullptr && kind.empty()) {
    if (row->fallback.empty())
      object.fail("kind is missing; expected one of " + [&] {
        std::string list;
        for (const std::string& word : words_of(row->choices)) list.append(list.empty() ? "" : ", ").append(word);
        return list;
      }());
    kind = ordered_json::parse(row->fallback).get<std::string>();
  }
  for (const std::string& key : keys) {
    const ScenarioField* field = find_scenario_field(fmt::format("{}/{}", pointer, key));
    if (field->only_with.empty() || contains_word(field->only_with, kind)) continue;
    std::string list;
    for (const std::string& word : words_of(field->only_with)) list.append(list.empty() ? "" : " or ").append(word);
    object.at(key).fail(fmt::format("belongs to kind {}, but kind is {}", list, kind));
  }
}

void check_value(const JsonReader& value, const ScenarioField& field) {
  switch (field.type) {
    case FieldType::object:
      check_members(value, field.pointer);
      break;
    case FieldType::document:
      value.keys();
      break;
    case FieldType::file_or_document:
      if (!value.json().is_object()) {
        if (!value.json().is_string()) value.fail("expected the name of a file or an object");
        if (value.string().empty()) value.fail("expected the name of a file or an object, got \"\"");
      }
      break;
    case FieldType::text:
      if (value.string().empty()) value.fail("expected a text, got \"\"");
      break;
    case FieldType::text_or_list:
      if (value.json().is_array()) {
        if (value.elements().empty()) value.fail("expected a text or a list of them, got an empty list");
        for (const JsonReader& element : value.elements()) {
          if (element.string().empty()) element.fail("expected a text, got \"\"");
        }
      } else if (!value.json().is_string()) {
        value.fail("expected a text or a list of them");
      } else if (value.string().empty()) {
        value.fail("expected a text, got \"\"");
      }
      break;
    case FieldType::boolean:
      value.boolean();
      break;
    case FieldType::integer:
      value.integer_in(static_cast<std::int64_t>(field.low), static_cast<std::int64_t>(field.high));
      break;
    case FieldType::number:
      value.number_in(field.low, field.high);
      break;
    case FieldType::duration:
      value.duration();
      break;
    case FieldType::rate:
      if (value.rate_per_second() <= 0) value.fail("expected a rate above zero");
      break;
    case FieldType::price:
      value.usd();
      break;
    case FieldType::power:
      value.watts();
      break;
    case FieldType::format:
      value.data_type();
      break;
    case FieldType::choice: {
      const std::vector<std::string> words = words_of(field.choices);
      const std::vector<std::string_view> views(words.begin(), words.end());
      value.choice(views);
      break;
    }
    case FieldType::list:
      value.elements();
      break;
  }
  if (field.not_built.empty()) return;
  const std::string text = value.json().is_string() ? value.string() : value.json().dump();
  const bool asked = field.not_built == "*"
                         ? text != field.fallback && !(value.json().is_number() && value.number() == 0)
                         : contains_word(field.not_built, text);
  if (asked) {
    value.fail(fmt::format("{}{} is not built yet; leave it out", last_of(field.pointer),
                           value.json().is_primitive() ? " " + text : ""),
               InputProblem::usage);
  }
}

/// `{"type": "string", "pattern": ...}` and the like.
ordered_json schema_of(const ScenarioField& field) {
  const auto quantity = [](const char* units, const char* example) {
    return ordered_json{{"type", "string"},
                        {"pattern", fmt::format("^[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)? *({})$", units)},
                        {"examples", {example}}};
  };
  const auto range = [&field](const char* type) {
    ordered_json schema{{"type", type}};
    if (field.low == std::floor(field.low)) {
      schema["minimum"] = static_cast<std::int64_t>(field.low);
    } else {
      schema["minimum"] = field.low;
    }
    schema["maximum"] = static_cast<std::int64_t>(field.high);
    return schema;
  };
  switch (field.type) {
    case FieldType::object:
    case FieldType::document:
      return {{"type", "object"}};
    case FieldType::file_or_document:
      return {{"type", {"string", "object"}}};
    case FieldType::text:
      return {{"type", "string"}, {"minLength", 1}};
    case FieldType::text_or_list:
      return {{"type", {"string", "array"}}, {"items", {{"type", "string"}}}, {"minLength", 1}, {"minItems", 1}};
    case FieldType::boolean:
      return {{"type", "boolean"}};
    case FieldType::integer:
      return range("integer");
    case FieldType::number:
      return range("number");
    case FieldType::duration:
      return quantity("s|ms|us|ns|ps|min|h", "50 ms");
    case FieldType::rate:
      return quantity("/s|/ms|/min|/h", "12 /s");
    case FieldType::price:
      return quantity("USD", "2.5 USD");
    case FieldType::power:
      return quantity("W|kW|MW", "700 W");
    case FieldType::format:
      return {{"enum", {"fp32", "bf16", "fp16", "fp8", "fp8_block", "int8", "int4", "mxfp4", "nvfp4"}}};
    case FieldType::choice:
      return {{"enum", words_of(field.choices)}};
    case FieldType::list:
      return {{"type", "array"}};
  }
  return {};
}

ordered_json schema_tree(std::string_view pointer) {
  ordered_json properties = ordered_json::object();
  for (const ScenarioField* member : members_of(pointer)) {
    ordered_json schema = schema_of(*member);
    std::string meaning(member->meaning);
    if (!member->only_with.empty()) meaning += fmt::format(" Only with kind {}.", member->only_with);
    if (!member->not_built.empty()) {
      meaning += member->not_built == "*" ? " Not built yet." : fmt::format(" Not built yet: {}.", member->not_built);
    }
    if (member->fallback.starts_with('[')) {
      meaning += fmt::format(" Default: {}.", member->fallback.substr(1, member->fallback.size() - 2));
    }
    schema["description"] = meaning;
    if (!member->fallback.empty() && !member->fallback.starts_with('[')) {
      schema["default"] = ordered_json::parse(member->fallback);
    }
    if (member->type == FieldType::object) schema.update(schema_tree(member->pointer));
    properties[std::string(last_of(member->pointer))] = std::move(schema);
  }
  ordered_json tree{{"properties", std::move(properties)}, {"additionalProperties", false}};
  if (find_scenario_field(fmt::format("{}/kind", pointer)) != nullptr && pointer != "/routing/popularity") {
    tree["required"] = {"kind"};
  }
  return tree;
}

std::string_view type_name(FieldType type) {
  switch (type) {
    case FieldType::object:
      return "object";
    case FieldType::document:
      return "object";
    case FieldType::file_or_document:
      return "file or object";
    case FieldType::text:
      return "text";
    case FieldType::text_or_list:
      return "text or list of texts";
    case FieldType::boolean:
      return "true or false";
    case FieldType::integer:
      return "whole number";
    case FieldType::number:
      return "number";
    case FieldType::duration:
      return "time, `\"50 ms\"`";
    case FieldType::rate:
      return "rate, `\"12 /s\"`";
    case FieldType::price:
      return "price, `\"2.5 USD\"`";
    case FieldType::power:
      return "power, `\"700 W\"`";
    case FieldType::format:
      return "number format, `\"fp8\"`";
    case FieldType::choice:
      return "choice";
    case FieldType::list:
      return "list";
  }
  return {};
}

/// The document's value for `pointer`, made on the way down.
ordered_json& place_of(ordered_json& document, std::string_view pointer) {
  ordered_json* at = &document;
  std::string_view rest = pointer.substr(1);
  while (true) {
    const std::size_t end = rest.find('/');
    if (!at->is_object()) *at = ordered_json::object();
    at = &(*at)[std::string(rest.substr(0, end))];
    if (end == std::string_view::npos) return *at;
    rest.remove_prefix(end + 1);
  }
}

}  // namespace

std::span<const ScenarioField> scenario_fields() {
  return fields;
}

const ScenarioField* find_scenario_field(std::string_view pointer) {
  const auto row = std::find_if(std::begin(fields), std::end(fields),
                                [pointer](const ScenarioField& field) { return field.pointer == pointer; });
  return row == std::end(fields) ? nullptr : row;
}

void check_scenario_fields(const JsonReader& root) {
  check_members(root, "");
}

namespace {

/// The row of the list that the pointer leads into; null where it is of none.
const ScenarioField* list_around(std::string_view pointer) {
  for (const ScenarioField& field : fields) {
    const bool list = field.type == FieldType::list || field.type == FieldType::text_or_list;
    if (list && pointer.starts_with(field.pointer) && pointer.substr(field.pointer.size()).starts_with('/')) {
      return &field;
    }
  }
  return nullptr;
}

}  // namespace

void set_scenario_field(ordered_json& document, const std::string& pointer, const std::string& value) {
  ordered_json parsed = ordered_json::parse(value, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) parsed = value;
  const JsonReader reader(parsed, "--set", pointer);
  if (!pointer.starts_with('/')) {
    throw ConfigError(InputProblem::bad_data,
                      fmt::format("--set: {}: expected a JSON pointer such as /engine/max_num_seqs", pointer));
  }
  const ScenarioField* field = find_scenario_field(pointer);
  if (field == nullptr) {
    for (const std::string_view inline_object : {"/model", "/cluster"}) {
      if (!pointer.starts_with(fmt::format("{}/", inline_object))) continue;
      const auto held = document.find(std::string(inline_object.substr(1)));
      if (held == document.end() || !held->is_object()) {
        reader.fail(fmt::format("{} is the name of a file; give it inline to set one of its fields", inline_object));
      }
      set_below(*held, std::string_view(pointer).substr(inline_object.size()), std::move(parsed), reader);
      return;
    }
    if (const ScenarioField* list = list_around(pointer); list != nullptr) {
      const ordered_json::json_pointer place{std::string(list->pointer)};
      if (!document.contains(place) || !document[place].is_array()) {
        reader.fail(fmt::format("{} is no list; give it whole to set one of its elements", list->pointer));
      }
      set_below(document[place], std::string_view(pointer).substr(list->pointer.size()), std::move(parsed), reader);
      return;
    }
    std::vector<std::string> known;
    for (const ScenarioField& row : fields) known.emplace_back(row.pointer);
    if (const auto near = nearest(pointer, known)) reader.fail("unknown field; did you mean " + *near + "?");
    fail_unknown(reader, last_of(pointer), parent_of(pointer));
  }
  if (parsed.is_null()) {
    ordered_json& parent = parent_of(pointer).empty() ? document : place_of(document, parent_of(pointer));
    if (parent.is_object()) parent.erase(std::string(last_of(pointer)));
    return;
  }
  if (last_of(pointer) == "kind") {
    check_value(reader, *field);
    ordered_json& parent = place_of(document, parent_of(pointer));
    for (const ScenarioField* sibling : members_of(parent_of(pointer))) {
      if (!sibling->only_with.empty() && !contains_word(sibling->only_with, parsed.get<std::string>()) &&
          parent.is_object()) {
        parent.erase(std::string(last_of(sibling->pointer)));
      }
    }
  } else if (field->only_with.empty()) {
    check_value(reader, *field);
  } else {
    // Which kind it belongs to is checked when the whole document is.
    ScenarioField free = *field;
    free.only_with = {};
    check_value(reader, free);
  }
  if (pointer == "/workload/trace" && document.contains("workload") && document["workload"].is_object() &&
      !document["workload"].contains("trace")) {
    for (const char* generated : {"arrivals", "input_tokens", "output_tokens", "requests"}) {
      document["workload"].erase(generated);
    }
  }
  place_of(document, pointer) = std::move(parsed);
}

std::string scenario_schema() {
  ordered_json schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                      {"title", "moesim scenario"},
                      {"description", "One experiment. Comments are allowed; units stand in the value."},
                      {"type", "object"}};
  schema.update(schema_tree(""));
  schema["if"] = {{"properties", {{"mode", {{"const", "network"}}}}}, {"required", {"mode"}}};
  schema["then"]["required"] = {"cluster", "program"};
  schema["else"]["required"] = {"model", "cluster", "workload"};
  return schema.dump(2) + "\n";
}

std::string scenario_reference() {
  std::string page =
      "# Fields of a scenario\n\n"
      "Made from the table that the reader uses (`sim/config/scenario_fields.cpp`); a test compares this page with "
      "it.\n"
      "Every field can be given with `--set POINTER=VALUE`, an element of a list by its number (`/program/0/bytes`); "
      "`--set POINTER=null` leaves it out, so that its default holds.\n"
      "`-` in place of a scenario's file is standard input; files that it names are then looked for from the current "
      "folder.\n\n"
      "| field | is | default | means |\n| --- | --- | --- | --- |\n";
  for (const ScenarioField& field : fields) {
    std::string is(type_name(field.type));
    if (field.type == FieldType::choice) {
      is.clear();
      for (const std::string& word : words_of(field.choices))
        is.append(is.empty() ? "`" : ", `").append(word).append("`");
    }
    std::string fallback = field.fallback.empty() ? "must be given" : std::string(field.fallback);
    if (fallback.starts_with('[')) {
      fallback = fallback.substr(1, fallback.size() - 2);
    } else if (!field.fallback.empty()) {
      fallback = "`" + fallback + "`";
    }
    std::string meaning(field.meaning);
    if (!field.only_with.empty()) meaning += fmt::format(" Only with kind {}.", field.only_with);
    if (!field.not_built.empty()) {
      meaning += field.not_built == "*" ? " Not built yet." : fmt::format(" Not built yet: `{}`.", field.not_built);
    }
    page += fmt::format("| `{}` | {} | {} | {} |\n", field.pointer, is, fallback, meaning);
  }
  page +=
      "\n## Exchanges of experts\n\n"
      "What a name of `/engine/all2all_backend` stands for (`sim/config/exchange_names.cpp`); the models of the "
      "kernels "
      "are in\n[model.md](model.md), section 6.\n\n"
      "| name | engine | kernels here | means | source |\n| --- | --- | --- | --- | --- |\n";
  for (const ExchangeName& row : exchange_names()) {
    std::string kernels = "not built";
    if (row.choice) {
      kernels = fmt::format("`{}`", name(row.choice->prefill));
      if (row.choice->decode != row.choice->prefill) {
        kernels += fmt::format(", in pure decode steps `{}`", name(row.choice->decode));
      }
    }
    page += fmt::format("| `{}` | {} | {} | {} | {} |\n", row.name, row.engine, kernels, row.meaning, row.source);
  }
  return page;
}

}  // namespace moesim
