#include "options.h"

#include <fmt/core.h>

#include <boost/program_options.hpp>
#include <charconv>
#include <cstdlib>
#include <sstream>

namespace moesim::calibrate {

namespace {

namespace po = boost::program_options;

constexpr std::string_view kHead = R"(Example: moesim-calibrate kernels -o my.csv

Times the kernels, collectives or memory of this machine and writes tables that `moesim fit` and `moesim predict` read.
A table is written row by row; --resume goes on where a run was stopped. With several operators, each has a table of its
own: my.gemm.csv, my.moe.csv ...

Usage: moesim-calibrate (kernels|collectives|memory) -o MEASURED.csv [options]

)";

std::string joined(std::span<const Family> families) {
  std::string text;
  for (const Family family : families) text += (text.empty() ? "" : " ") + std::string(name(family));
  return text;
}

/// The first of `names` that the environment gives as a number.
std::optional<int> number_in(Environment environment, std::initializer_list<const char*> names) {
  for (const char* const name : names) {
    const auto text = environment(name);
    int value = 0;
    if (!text) continue;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error == std::errc() && end == text->data() + text->size()) return value;
  }
  return std::nullopt;
}

}  // namespace

std::variant<Options, Refused> parse_options(std::span<const std::string> words, Environment environment) {
  po::options_description shown("Options");
  shown.add_options()("output,o", po::value<std::string>()->value_name("FILE"), "table to write (CSV)")(
      "op", po::value<std::vector<std::string>>()->value_name("OP")->composing(),
      "only this operator; may be repeated")(
      "kernel", po::value<std::vector<std::string>>()->value_name("NAME")->composing(),
      "only this kernel; may be repeated")("resume", "go on with a table that is there")(
      "device", po::value<int>()->value_name("N")->default_value(0), "the GPU, as the driver counts")(
      "list", "print the rows that would be measured by the kernels of every provider; needs no GPU")(
      "ranks", po::value<int>()->value_name("N"), "collectives: processes of the group, one GPU each")(
      "rank", po::value<int>()->value_name("R"), "collectives: which of them this is, from 0")(
      "id-file", po::value<std::string>()->value_name("FILE"),
      "collectives: file that all processes see, new for every run")("help,h", "this text");
  po::options_description all;
  all.add(shown).add_options()("target", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("target", -1);

  po::variables_map given;
  try {
    po::store(po::command_line_parser({words.begin(), words.end()})
                  .options(all)
                  .positional(positional)
                  .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing)
                  .run(),
              given);
    po::notify(given);
  } catch (const po::error& error) {
    return Refused{2, error.what()};
  }
  if (given.contains("help")) {
    std::ostringstream text;
    text << kHead << shown << "\nOperators: kernels: " << joined(families_of(Target::kernels))
         << "; collectives: " << joined(families_of(Target::collectives))
         << "; memory: " << joined(families_of(Target::memory)) << '\n';
    return Refused{0, text.str()};
  }

  Options options;
  const auto targets =
      given.contains("target") ? given["target"].as<std::vector<std::string>>() : std::vector<std::string>();
  if (targets.size() != 1) return Refused{2, "expected one of kernels, collectives, memory; see --help"};
  const auto target = target_from_name(targets.front());
  if (!target) return Refused{2, fmt::format("{}: expected kernels, collectives or memory", targets.front())};
  options.target = *target;

  const std::span<const Family> known = families_of(*target);
  options.families.assign(known.begin(), known.end());
  if (given.contains("op")) {
    options.families.clear();
    for (const std::string& op : given["op"].as<std::vector<std::string>>()) {
      const auto family = family_from_name(op);
      if (!family || std::find(known.begin(), known.end(), *family) == known.end()) {
        return Refused{2, fmt::format("--op {}: expected one of {}", op, joined(known))};
      }
      if (std::find(options.families.begin(), options.families.end(), *family) == options.families.end()) {
        options.families.push_back(*family);
      }
    }
  }
  if (given.contains("kernel")) options.kernels = given["kernel"].as<std::vector<std::string>>();
  options.resume = given.contains("resume");
  options.list = given.contains("list");
  options.device = given["device"].as<int>();
  if (options.device < 0) return Refused{2, fmt::format("--device {}: expected a number from 0", options.device)};
  if (given.contains("output")) options.output = given["output"].as<std::string>();
  if (options.output.empty() && !options.list) return Refused{2, "-o FILE is missing: the table to write"};

  if (given.contains("id-file")) {
    if (*target != Target::collectives) return Refused{2, "--id-file: only for collectives"};
    ProcessGroup group;
    group.id_file = given["id-file"].as<std::string>();
    const auto rank = given.contains("rank") ? std::optional(given["rank"].as<int>())
                                             : number_in(environment, {"OMPI_COMM_WORLD_RANK", "SLURM_PROCID"});
    const auto ranks = given.contains("ranks") ? std::optional(given["ranks"].as<int>())
                                               : number_in(environment, {"OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS"});
    if (!rank || !ranks || *ranks < 2 || *rank < 0 || *rank >= *ranks) {
      return Refused{2, "--id-file: needs --ranks N of at least 2 and --rank R of 0 to N-1"};
    }
    group.rank = *rank;
    group.ranks = *ranks;
    options.group = group;
    if (given["device"].defaulted()) {
      options.device = number_in(environment, {"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}).value_or(0);
    }
  } else if (given.contains("rank") || given.contains("ranks")) {
    return Refused{2, "--rank and --ranks: need --id-file FILE"};
  }
  return options;
}

std::optional<std::string> process_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace moesim::calibrate
