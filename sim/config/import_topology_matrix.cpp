#include "config/import_topology_matrix.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>

#include "config/json_reader.h"
#include "config/line_reader.h"
#include "config/link_rates.h"
#include "config/read_gpu.h"

namespace moesim {

namespace {

/// How far apart two devices are on PCIe, nearest first; `unsaid` where the cell names NVLink or xGMI instead.
enum class Apart { self, one_switch, switches, bridge, numa, system, unsaid };

struct Cell {
  Apart apart = Apart::unsaid;
  int links = 0;  ///< NVLinks, or 1 for xGMI
};

struct Matrix {
  std::string file;
  std::size_t gpus = 0, nics = 0;        ///< GPUs are the first rows
  std::vector<std::vector<Cell>> cells;  ///< as far as rows were there
  std::vector<std::string> numa;         ///< of each GPU; empty: not said
  bool xgmi = false;

  std::size_t devices() const { return gpus + nics; }
};

std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t start = line.find_first_not_of(" \t", at);
    if (start == std::string_view::npos) break;
    at = std::min(line.find_first_of(" \t", start), line.size());
    words.emplace_back(line.substr(start, at - start));
  }
  return words;
}

/// Without the escape sequences of a terminal (ESC [ ... letter).
std::string plain(std::string_view line) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b' && i + 1 < line.size() && line[i + 1] == '[') {
      for (i += 2; i < line.size() && !(line[i] >= '@' && line[i] <= '~');) ++i;
    } else {
      text += line[i];
    }
  }
  return text;
}

bool is_device(std::string_view word, std::string_view prefix) {
  return word.starts_with(prefix) && word.size() > prefix.size() &&
         std::all_of(word.begin() + static_cast<std::ptrdiff_t>(prefix.size()), word.end(),
                     [](char c) { return c >= '0' && c <= '9'; });
}

bool is_nic(std::string_view word) {
  return is_device(word, "NIC") || word.starts_with("mlx") || word.starts_with("bnxt") || word.starts_with("rdma") ||
         word.starts_with("efa");
}

Cell cell_of(const LineReader& lines, const std::string& word) {
  const std::map<std::string_view, Apart> known = {{"X", Apart::self},       {"PIX", Apart::one_switch},
                                                   {"PXB", Apart::switches}, {"PHB", Apart::bridge},
                                                   {"NODE", Apart::numa},    {"SYS", Apart::system}};
  if (const auto found = known.find(word); found != known.end()) return {found->second, 0};
  int links = 0;
  if (word.starts_with("NV")) {
    const auto [end, error] = std::from_chars(word.data() + 2, word.data() + word.size(), links);
    if (error == std::errc() && end == word.data() + word.size() && links > 0 && links < 1000) {
      return {Apart::unsaid, links};
    }
  }
  lines.fail(fmt::format("\"{}\"; expected X, NV#, PIX, PXB, PHB, NODE or SYS", echo(word)));
}

/// A row: the device's name, a cell for each device, then CPU and NUMA affinity.
void read_row(const LineReader& lines, const std::vector<std::string>& words, Matrix& matrix) {
  if (words.size() < 1 + matrix.devices()) {
    lines.fail(fmt::format("{} has {} cells; expected {}", echo(words[0]), words.size() - 1, matrix.devices()));
  }
  std::vector<Cell> row;
  for (std::size_t i = 1; i <= matrix.devices(); ++i) row.push_back(cell_of(lines, words[i]));
  if (row[matrix.cells.size()].apart != Apart::self) {
    lines.fail(fmt::format("{} is not the device of this row's column; expected X there", echo(words[0])));
  }
  if (matrix.cells.size() < matrix.gpus) {
    const std::size_t at = matrix.devices() + 2;
    matrix.numa.push_back(words.size() > at ? words[at] : "");
  }
  matrix.cells.push_back(std::move(row));
}

/// rocm-smi: the section of link types; NUMA nodes where they are given.
void read_rocm(LineReader& lines, Matrix& matrix) {
  matrix.xgmi = true;
  std::string_view line;
  std::map<std::size_t, std::string> numa;
  while (lines.next(line)) {
    const std::vector<std::string> words = words_of(plain(line));
    if (words.empty()) continue;
    if (is_device(words[0], "GPU") && words.size() > 2 && is_device(words[1], "GPU")) continue;  // the heading
    if (is_device(words[0], "GPU")) {
      std::vector<Cell> row;
      for (std::size_t i = 1; i < words.size(); ++i) {
        if (words[i] != "XGMI" && words[i] != "PCIE" && words[i] != "0") {
          lines.fail(fmt::format("\"{}\"; expected XGMI, PCIE or 0", echo(words[i])));
        }
        row.push_back(words[i] == "XGMI" ? Cell{Apart::unsaid, 1}
                      : words[i] == "0"  ? Cell{Apart::self, 0}
                                         : Cell{Apart::system, 0});
      }
      matrix.cells.push_back(std::move(row));
    } else if (words[0].starts_with("GPU[") && line.find("Numa Node:") != std::string_view::npos) {
      numa[numa.size()] = words.back();
    }
  }
  matrix.gpus = matrix.cells.size();
  for (const auto& row : matrix.cells) {
    if (row.size() != matrix.gpus) lines.fail(fmt::format("rows of {} and {} cells", row.size(), matrix.gpus));
  }
  for (std::size_t g = 0; g < matrix.gpus; ++g) matrix.numa.push_back(numa.contains(g) ? numa[g] : "");
}

Matrix read_matrix(const std::filesystem::path& path) {
  LineReader lines(path);
  Matrix matrix;
  matrix.file = input_name(path);
  std::string_view raw;
  bool rocm = false;  // whose first sections are weights and hops
  while (lines.next(raw)) {
    const std::string line = plain(raw);
    rocm = rocm || line.find("between two GPUs") != std::string::npos;
    if (line.find("Link Type between two GPUs") != std::string::npos) {
      read_rocm(lines, matrix);
      break;
    }
    const std::vector<std::string> words = words_of(line);
    if (words.empty() || rocm) continue;
    if (words[0] == "Legend:") break;
    if (matrix.gpus == 0) {
      if (words.size() > 1 && is_device(words[0], "GPU") &&
          (is_device(words[1], "GPU") || is_nic(words[1]) || words[1] == "CPU")) {
        for (const std::string& word : words) {
          if (is_device(word, "GPU")) {
            ++matrix.gpus;
          } else if (is_nic(word)) {
            ++matrix.nics;
          } else {
            break;  // CPU Affinity ...
          }
        }
      }
    } else if (matrix.cells.size() < matrix.devices() && (is_device(words[0], "GPU") || is_nic(words[0]))) {
      read_row(lines, words, matrix);
    }
  }
  if (matrix.gpus == 0) {
    lines.fail("no matrix of GPUs; expected the output of nvidia-smi topo -m (or of rocm-smi --showtopo)");
  }
  if (matrix.cells.size() < matrix.devices()) {
    lines.fail(fmt::format("ends after {} of {} rows of the matrix", matrix.cells.size(), matrix.devices()));
  }
  return matrix;
}

/// Sets of devices that are at most `most` apart, each a sorted list; the sets in order of their first device.
std::vector<std::vector<std::size_t>> groups_within(const Matrix& matrix, Apart most) {
  std::vector<std::size_t> leader(matrix.devices());
  std::iota(leader.begin(), leader.end(), std::size_t{0});
  const auto merge = [&](std::size_t a, std::size_t b) {
    const std::size_t keep = std::min(leader[a], leader[b]), drop = std::max(leader[a], leader[b]);
    std::replace(leader.begin(), leader.end(), drop, keep);
  };
  for (std::size_t a = 0; a < matrix.devices(); ++a) {
    for (std::size_t b = 0; b < matrix.devices(); ++b) {
      if (matrix.cells[a][b].apart <= most) merge(a, b);
      const bool near =
          a < matrix.gpus && b < matrix.gpus && !matrix.numa[a].empty() && matrix.numa[a] == matrix.numa[b];
      if (most >= Apart::numa && near) merge(a, b);
    }
  }
  std::map<std::size_t, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < leader.size(); ++i) groups[leader[i]].push_back(i);
  std::vector<std::vector<std::size_t>> list;
  for (auto& [first, members] : groups) list.push_back(std::move(members));
  return list;
}

class Drawing {
 public:
  Drawing(const Matrix& matrix, const GpuSpec& gpu) : matrix_(matrix), gpu_(gpu), slot_(pcie_rate_of(gpu.host_link)) {
    node_.file = matrix.file;
    node_.notes.push_back(fmt::format(
        "shape as the matrix of the tool shows it, which has no rates: every PCIe link as the host link of {} (its "
        "datasheet); socket links 22 GB/s (NCCL's model of recent Xeons); latencies: estimates",
        gpu.id));
    parts_.resize(matrix.devices());
    add_tree();
    node_.connect_sockets(socket_rate("x86_64", "GenuineIntel", 143));
    add_scale_up();
  }
  const NodeDrawing& node() const { return node_; }

 private:
  void add_tree() {
    std::vector<std::uint32_t> sockets;
    std::vector<std::size_t> adrift;  // NICs that are far from every GPU
    for (const std::vector<std::size_t>& numa : groups_within(matrix_, Apart::numa)) {
      if (numa.front() >= matrix_.gpus && matrix_.gpus > 0) {
        adrift.insert(adrift.end(), numa.begin(), numa.end());
        continue;
      }
      sockets.push_back(node_.add(VertexKind::host, -1, {}));
      add_below(numa, sockets.back(), Apart::switches);
    }
    for (std::size_t i = 0; i < adrift.size(); ++i) {
      add_device(adrift[i], sockets[i * sockets.size() / adrift.size()]);
    }
    if (!adrift.empty()) {
      node_.notes.push_back(
          fmt::format("{} NICs are equally far from all GPUs: spread over the sockets in order", adrift.size()));
    }
  }

  /// Switches for the groups of `members` within `level`, then those within the next nearer one.
  void add_below(const std::vector<std::size_t>& members, std::uint32_t parent, Apart level) {
    for (const std::vector<std::size_t>& group : groups_within(matrix_, level)) {
      if (std::find(members.begin(), members.end(), group.front()) == members.end()) continue;
      if (group.size() == 1) {
        add_device(group.front(), parent);
        continue;
      }
      LinkClass up = slot_;
      up.latency = pcie_uplink_latency;
      const bool flat = level == Apart::one_switch;
      // A group that PIX alone joins is one switch, not two.
      const bool one = !flat && one_switch_joins(group);
      const std::uint32_t above =
          one ? parent : node_.add(VertexKind::pcie_switch, static_cast<std::int32_t>(parent), up);
      if (flat) {
        for (const std::size_t device : group) add_device(device, above);
      } else {
        add_below(group, above, Apart::one_switch);
      }
    }
  }
  bool one_switch_joins(const std::vector<std::size_t>& group) const {
    const auto nearer = groups_within(matrix_, Apart::one_switch);
    return std::find(nearer.begin(), nearer.end(), group) != nearer.end();
  }

  void add_device(std::size_t device, std::uint32_t parent) {
    LinkClass up = slot_;
    const bool nic = device >= matrix_.gpus;
    if (nic) up.latency = Duration();  // the NIC's own latency holds it
    parts_[device] = node_.add(nic ? VertexKind::nic : VertexKind::gpu, static_cast<std::int32_t>(parent), up);
    node_.parts[parts_[device]].order = device;
  }

  void add_scale_up() {
    std::vector<int> total(matrix_.gpus, 0);
    int links = 0;
    bool all_alike = matrix_.gpus > 2;
    for (std::size_t a = 0; a < matrix_.gpus; ++a) {
      for (std::size_t b = 0; b < matrix_.gpus; ++b) {
        if (a == b) continue;
        total[a] += matrix_.cells[a][b].links;
        links = std::max(links, matrix_.cells[a][b].links);
      }
    }
    for (std::size_t a = 0; a < matrix_.gpus; ++a) {
      for (std::size_t b = 0; b < matrix_.gpus; ++b) {
        all_alike = all_alike && (a == b || matrix_.cells[a][b].links == links);
      }
    }
    if (links == 0) return;
    const auto capability = compute_capability(gpu_.architecture);
    if (!matrix_.xgmi && !capability) {
      throw ConfigError(InputProblem::usage, fmt::format("{}: shows NVLinks, which {} ({}) does not have", matrix_.file,
                                                         gpu_.id, gpu_.architecture));
    }
    LinkClass one = matrix_.xgmi ? LinkClass{gpu_.scale_up_peer, 0.75, scale_up_latency} : nvlink_rate(*capability);
    node_.notes.push_back(matrix_.xgmi
                              ? "xGMI to each peer by the datasheet"
                              : fmt::format("NVLink counts of the matrix x {:g} GB/s a link, {:.1f} reached in "
                                            "NCCL's model",
                                            one.bandwidth.value / 1e9, reachable(one).value / 1e9));
    // Direct links to all peers would be more than a GPU has: they are the ways through a switch.
    const bool switched =
        all_alike && one.bandwidth.value * total[0] > 1.01 * std::max(gpu_.scale_up.value, one.bandwidth.value * links);
    std::optional<std::uint32_t> hub;
    if (switched) hub = node_.add(VertexKind::nvswitch, -1, {});
    const auto bond = [&](std::uint32_t a, std::uint32_t b, int count) {
      LinkClass rate = one;
      rate.bandwidth.value *= count;
      node_.bonds.push_back({a, b, LinkKind::scale_up, rate});
    };
    for (std::size_t a = 0; a < matrix_.gpus; ++a) {
      if (hub) {
        bond(parts_[a], *hub, links);
        continue;
      }
      for (std::size_t b = a + 1; b < matrix_.gpus; ++b) {
        if (matrix_.cells[a][b].links > 0) bond(parts_[a], parts_[b], matrix_.cells[a][b].links);
      }
    }
  }

  const Matrix& matrix_;
  const GpuSpec& gpu_;
  LinkClass slot_;
  NodeDrawing node_;
  std::vector<std::uint32_t> parts_;  ///< of each device
};

}  // namespace

ClusterSpec import_topology_matrix(const std::filesystem::path& path, const ImportOptions& options) {
  const Matrix matrix = read_matrix(path);
  if (options.gpu.empty()) {
    throw ConfigError(
        InputProblem::usage,
        fmt::format("{}: names no GPU and no rates, which its datasheet gives; add --gpu NAME", matrix.file));
  }
  const GpuSpec gpu = find_gpu(options.gpu);
  return cluster_of_nodes(Drawing(matrix, gpu).node(), options, gpu);
}

}  // namespace moesim
