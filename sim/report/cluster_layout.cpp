#include "report/cluster_layout.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

namespace moesim {

namespace {

enum Row : std::size_t { spines, leaves, nics, sockets, outer_switches, switches, gpus, scale_up };
constexpr std::size_t row_count = scale_up + 1;
constexpr std::array<const char*, row_count> row_names = {"spine",         "leaf switches", "NICs", "CPUs",
                                                          "PCIe switches", "PCIe switches", "GPUs", "scale-up switch"};
constexpr double left_margin = 120, top_margin = 96, row_pitch = 84, node_gap = 26, padding = 14;
constexpr std::uint32_t most_spines = 8;

class Layout {
 public:
  explicit Layout(const Topology& topology) : topology_(topology), result_{} {
    result_.vertices.resize(topology.vertices().size());
    result_.box_height = 24;
    find_neighbours();
    find_nodes();
    choose_nodes();
    choose_switches();
    find_rows();
    place_rows();
    for (const std::uint32_t node : shown_nodes_) place_node(node);
    finish_frames();
    place_shared();
  }
  ClusterLayout result() && { return std::move(result_); }

 private:
  static constexpr std::uint32_t nowhere = std::numeric_limits<std::uint32_t>::max();

  VertexKind kind(std::uint32_t v) const { return topology_.vertices()[v].kind; }

  void find_neighbours() {
    neighbours_.resize(topology_.vertices().size());
    for (const Link& link : topology_.links()) {
      neighbours_[link.from].push_back(link.to);
      neighbours_[link.to].push_back(link.from);
    }
  }

  /// The node of each part: its GPU's, or as the vertex says, or that of what it hangs on. A scale-up switch of several
  /// nodes is in none.
  void find_nodes() {
    node_.assign(topology_.vertices().size(), nowhere);
    std::vector<std::uint32_t> open;
    for (std::uint32_t g = 0; g < topology_.gpu_count(); ++g) {
      node_[g] = topology_.node_of(GpuId{g}).value;
      open.push_back(g);
    }
    while (!open.empty()) {
      const std::uint32_t at = open.back();
      open.pop_back();
      for (const std::uint32_t v : neighbours_[at]) {
        const bool outside = kind(v) == VertexKind::leaf || kind(v) == VertexKind::spine;
        if (outside || node_[v] != nowhere || kind(at) == VertexKind::nvswitch) continue;
        node_[v] = node_[at];
        open.push_back(v);
      }
    }
    for (std::uint32_t v = 0; v < node_.size(); ++v) {
      if (kind(v) != VertexKind::nvswitch) continue;
      for (const std::uint32_t g : neighbours_[v]) {
        if (node_[g] != node_[v] && kind(g) == VertexKind::gpu) shared_.push_back(v);
        if (!shared_.empty() && shared_.back() == v) break;
      }
      if (!shared_.empty() && shared_.back() == v) node_[v] = nowhere;
    }
  }

  void choose_nodes() {
    std::map<std::uint32_t, std::size_t> gpus_of;
    for (std::uint32_t g = 0; g < topology_.gpu_count(); ++g) ++gpus_of[node_[g]];
    const std::size_t most = topology_.gpu_count() <= 32 ? 32 : 16;
    std::size_t taken = 0;
    for (const auto& [node, count] : gpus_of) {
      if (!shown_nodes_.empty() && taken + count > most) break;
      shown_nodes_.push_back(node);
      taken += count;
    }
    result_.hidden_nodes = static_cast<std::uint32_t>(gpus_of.size() - shown_nodes_.size());
    for (std::uint32_t v = 0; v < node_.size(); ++v) {
      result_.vertices[v].shown = std::find(shown_nodes_.begin(), shown_nodes_.end(), node_[v]) != shown_nodes_.end();
    }
  }

  bool beside_shown(std::uint32_t v) const {
    return std::any_of(neighbours_[v].begin(), neighbours_[v].end(),
                       [&](std::uint32_t other) { return result_.vertices[other].shown && node_[other] != nowhere; });
  }

  void choose_switches() {
    std::uint32_t spines_seen = 0;
    for (std::uint32_t v = 0; v < node_.size(); ++v) {
      PlacedVertex& vertex = result_.vertices[v];
      if (kind(v) == VertexKind::spine) vertex.shown = spines_seen++ < most_spines;
      if (kind(v) == VertexKind::leaf) {
        vertex.shown = beside_shown(v);
        result_.hidden_leaves += !vertex.shown;
      }
    }
    result_.hidden_spines = spines_seen > most_spines ? spines_seen - most_spines : 0;
    for (const std::uint32_t v : shared_) result_.vertices[v].shown = beside_shown(v);
  }

  void find_rows() {
    row_.resize(node_.size());
    for (std::uint32_t v = 0; v < node_.size(); ++v) {
      const auto near_device = [&](std::uint32_t other) {
        return kind(other) == VertexKind::gpu || kind(other) == VertexKind::nic;
      };
      switch (kind(v)) {
        case VertexKind::gpu:
          row_[v] = gpus;
          break;
        case VertexKind::nvswitch:
          row_[v] = scale_up;
          break;
        case VertexKind::pcie_switch:
          row_[v] = std::any_of(neighbours_[v].begin(), neighbours_[v].end(), near_device) ? switches : outer_switches;
          break;
        case VertexKind::host:
          row_[v] = sockets;
          break;
        case VertexKind::nic:
          row_[v] = nics;
          break;
        case VertexKind::leaf:
          row_[v] = leaves;
          break;
        case VertexKind::spine:
          row_[v] = spines;
          break;
      }
    }
  }

  void place_rows() {
    std::array<bool, row_count> used{};
    for (std::uint32_t v = 0; v < node_.size(); ++v) used[row_[v]] = used[row_[v]] || result_.vertices[v].shown;
    double y = top_margin;
    std::array<double, row_count> at{};
    for (std::size_t row = 0; row < row_count; ++row) {
      if (!used[row]) continue;
      at[row] = y;
      result_.rows.push_back({row_names[row], y});
      // Between many NICs and leaves the lines need room.
      y += row_pitch + (row == leaves && shown_nodes_.size() > 1 ? 60 : 0);
    }
    // Links between GPUs hang below them.
    const bool mesh = std::any_of(topology_.links().begin(), topology_.links().end(), [&](const Link& link) {
      return kind(link.from) == VertexKind::gpu && kind(link.to) == VertexKind::gpu;
    });
    bottom_ = y - row_pitch + result_.box_height / 2 + (mesh ? 70 : 0);
    for (std::uint32_t v = 0; v < node_.size(); ++v) result_.vertices[v].y = at[row_[v]];
    next_left_ = left_margin;
  }

  /// Members of a row in the order of the mean place of those they are linked to and that already have one.
  std::vector<std::uint32_t> ordered(std::vector<std::uint32_t> members, const std::vector<char>& placed) const {
    std::map<std::uint32_t, double> middle;
    double last = 0;
    for (const std::uint32_t v : members) {
      double sum = 0, n = 0;
      for (const std::uint32_t other : neighbours_[v]) {
        if (placed[other] == 0) continue;
        sum += result_.vertices[other].x;
        n += 1;
      }
      last = middle[v] = n > 0 ? sum / n : last;
    }
    std::stable_sort(members.begin(), members.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return middle[a] < middle[b]; });
    return members;
  }

  void place_node(std::uint32_t node) {
    std::array<std::vector<std::uint32_t>, row_count> members;
    for (std::uint32_t v = 0; v < node_.size(); ++v) {
      if (node_[v] == node && result_.vertices[v].shown) members[row_[v]].push_back(v);
    }
    std::size_t widest = 2;
    for (const auto& row : members) widest = std::max(widest, row.size());
    const double column = topology_.gpu_count() > 8 ? 52 : 76, width = static_cast<double>(widest) * column;
    const double left = next_left_ + padding;
    std::vector<char> placed(node_.size(), 0);
    for (const std::size_t row : {gpus, scale_up, switches, outer_switches, sockets, nics}) {
      const std::vector<std::uint32_t> list = row == gpus ? members[row] : ordered(members[row], placed);
      for (std::size_t i = 0; i < list.size(); ++i) {
        PlacedVertex& vertex = result_.vertices[list[i]];
        const double share = width / static_cast<double>(list.size());
        vertex.x = left + (static_cast<double>(i) + 0.5) * share;
        vertex.width = row == scale_up ? share - 12 : std::min(column - 6, 84.0);
        placed[list[i]] = 1;
      }
    }
    clear_sockets(members[sockets], width / static_cast<double>(std::max<std::size_t>(1, members[sockets].size())));
    result_.frames.push_back({node, next_left_, left + width + padding, 0, 0});
    next_left_ = left + width + padding + node_gap;
  }

  /// Moves sockets aside, by at most half of their `share` of the row, where a line from a NIC to a switch would run
  /// through them and look as if it ended there.
  void clear_sockets(const std::vector<std::uint32_t>& list, double share) {
    for (const std::uint32_t v : list) {
      PlacedVertex& socket = result_.vertices[v];
      const double middle = socket.x;
      for (double aside = 0; aside <= share / 2; aside += 4) {
        socket.x = middle + aside;
        if (!is_crossed(v)) break;
        socket.x = middle;
      }
    }
  }

  bool is_crossed(std::uint32_t v) const {
    const PlacedVertex& socket = result_.vertices[v];
    for (const Link& link : topology_.links()) {
      const PlacedVertex &from = result_.vertices[link.from], &to = result_.vertices[link.to];
      if (node_[link.from] != node_[v] || from.y >= socket.y || to.y <= socket.y) continue;
      const double crossing = from.x + (to.x - from.x) * (socket.y - from.y) / (to.y - from.y);
      if (std::abs(crossing - socket.x) < socket.width / 2 + 2) return true;
    }
    return false;
  }

  void finish_frames() {
    double top = bottom_, low = 0;
    for (std::uint32_t v = 0; v < node_.size(); ++v) {
      if (!result_.vertices[v].shown || node_[v] == nowhere) continue;
      top = std::min(top, result_.vertices[v].y);
      low = std::max(low, result_.vertices[v].y);
    }
    const bool arcs = shared_.empty() && bottom_ > low + result_.box_height;
    for (NodeFrame& frame : result_.frames) {
      frame.top = top - result_.box_height / 2 - 26;
      frame.bottom = (arcs ? bottom_ : low + result_.box_height / 2) + 12;
    }
    if (result_.hidden_nodes > 0) {
      result_.more_left = next_left_;
      next_left_ += 130 + node_gap;
    }
    result_.width = next_left_ - node_gap + 20;
    result_.height = bottom_ + 24;
  }

  void spread(const std::vector<std::uint32_t>& list, double widest) {
    const double left = left_margin,
                 share = (result_.width - 20 - left) / static_cast<double>(std::max<std::size_t>(1, list.size()));
    for (std::size_t i = 0; i < list.size(); ++i) {
      PlacedVertex& vertex = result_.vertices[list[i]];
      vertex.x = left + (static_cast<double>(i) + 0.5) * share;
      vertex.width = std::min(share - 8, widest);
    }
  }

  void place_shared() {
    std::vector<std::uint32_t> leaf_list, spine_list;
    std::vector<char> placed(node_.size(), 0);
    for (std::uint32_t v = 0; v < node_.size(); ++v) {
      placed[v] = result_.vertices[v].shown && node_[v] != nowhere;
      if (result_.vertices[v].shown && row_[v] == leaves) leaf_list.push_back(v);
      if (result_.vertices[v].shown && row_[v] == spines) spine_list.push_back(v);
    }
    spread(ordered(leaf_list, placed), 110);
    spread(spine_list, std::numeric_limits<double>::max());
    std::vector<std::uint32_t> rack_list;
    for (const std::uint32_t v : shared_) {
      if (result_.vertices[v].shown) rack_list.push_back(v);
    }
    spread(rack_list, std::numeric_limits<double>::max());
  }

  const Topology& topology_;
  ClusterLayout result_;
  std::vector<std::vector<std::uint32_t>> neighbours_;
  std::vector<std::uint32_t> node_;
  std::vector<std::uint32_t> shared_;  ///< scale-up switches of several nodes
  std::vector<std::uint32_t> shown_nodes_;
  std::vector<std::size_t> row_;
  double next_left_ = 0, bottom_ = 0;
};

}  // namespace

ClusterLayout layout_of(const Topology& topology) {
  return Layout(topology).result();
}

}  // namespace moesim
