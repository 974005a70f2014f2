#include "report/cluster_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/check.h"
#include "core/xml_text.h"
#include "report/cluster_layout.h"
#include "report/number_text.h"

namespace moesim {

namespace {

/// Colours that stay apart for colour-blind readers (Okabe, Ito).
const char* colour_of(LinkKind kind) {
  switch (kind) {
    case LinkKind::scale_up:
      return "#009e73";
    case LinkKind::pcie:
      return "#8a8f98";
    case LinkKind::nic:
      return "#e69f00";
    case LinkKind::fabric:
      return "#0072b2";
  }
  return "";
}

const char* fill_of(VertexKind kind) {
  switch (kind) {
    case VertexKind::gpu:
      return "#d5f0e4";
    case VertexKind::nvswitch:
      return "#a6dfc7";
    case VertexKind::pcie_switch:
      return "#e7e9ec";
    case VertexKind::host:
      return "#d3d7dd";
    case VertexKind::nic:
      return "#fbe7bd";
    case VertexKind::leaf:
      return "#cfe4f3";
    case VertexKind::spine:
      return "#a9cfea";
  }
  return "";
}

/// From pale yellow at 0 to dark red at 1.
std::string heat(double share) {
  const double x = std::clamp(share, 0.0, 1.0);
  const auto mix = [&](double from, double to) { return static_cast<int>(std::lround(from + (to - from) * x)); };
  return fmt::format("#{:02x}{:02x}{:02x}", mix(245, 178), mix(222, 24), mix(120, 43));
}

double width_of(const LinkClass& rate) {
  return std::clamp(0.8 + 0.9 * std::log2(std::max(1.0, rate.bandwidth.value / 10e9)), 0.8, 7.0);
}

std::string label_of(const std::string& name, double width) {
  std::string text = name;
  if (text.starts_with("pcie_switch")) text.replace(0, 11, "pcie");
  return shortened(text, std::max<std::size_t>(3, static_cast<std::size_t>(width / 6)));
}

std::string text_at(double x, double y, const std::string& text, const char* style) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, xml_escaped(text));
}

class Drawing {
 public:
  Drawing(const Topology& topology, std::span<const double> utilization)
      : topology_(topology), utilization_(utilization), layout_(layout_of(topology)) {
    MOESIM_CHECK(utilization.empty() || utilization.size() == topology.links().size(), "{} utilizations of {} links",
                 utilization.size(), topology.links().size());
  }

  std::string svg() {
    for (const NodeFrame& frame : layout_.frames) draw_frame(frame);
    draw_links();
    for (const NodeFrame& frame : layout_.frames) {
      body_ += text_at(frame.left + 8, frame.top + 15, fmt::format("node {}", frame.node), "class=\"node\"");
    }
    for (std::uint32_t v = 0; v < layout_.vertices.size(); ++v) draw_vertex(v);
    for (const RowLabel& row : layout_.rows) body_ += text_at(14, row.y + 4, row.text, "class=\"row\"");
    draw_rates();
    draw_left_out();
    draw_legend();
    const double width = std::max(layout_.width, 720.0);
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} "
               "{1:.0f}\" role=\"img\" style=\"max-width:100%;height:auto\">\n<title>{2}</title>\n"
               "<style>text{{font-family:sans-serif;fill:#222}}.title{{font-size:17px;font-weight:bold}}"
               ".sub{{font-size:12px;fill:#555}}.row{{font-size:12px;fill:#555}}.part{{font-size:10px;text-anchor:"
               "middle}}"
               ".node{{font-size:11px;fill:#555;paint-order:stroke;stroke:#fafafa;stroke-width:4px}}.legend{{font-size:"
               "12px}}.rate{{font-size:11px;fill:#777}}.more{{font-"
               "size:13px;fill:#555;"
               "text-anchor:middle}}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
               width, y_, xml_escaped(topology_.cluster().name)) +
           heading(width) + body_ + "</svg>\n";
  }

 private:
  std::string heading(double width) const {
    const ClusterSpec& cluster = topology_.cluster();
    const auto fitting = static_cast<std::size_t>(width / 9);
    return text_at(14, 26, shortened(cluster.name, fitting), "class=\"title\"") +
           text_at(14, 46,
                   fmt::format("{} x {} in {} node{}; lines are the wider the more bandwidth they have",
                               gpu_count(cluster), cluster.gpu, cluster.nodes, cluster.nodes == 1 ? "" : "s"),
                   "class=\"sub\"");
  }

  void draw_frame(const NodeFrame& frame) {
    body_ += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" rx=\"8\" fill=\"#fafafa\" "
        "stroke=\"#c4c8ce\"/>\n",
        frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  }

  void draw_links() {
    const std::span<const Link> links = topology_.links();
    const ClusterGraph* drawn = topology_.cluster().graph ? &*topology_.cluster().graph : nullptr;
    const std::size_t paired = drawn != nullptr ? 2 * drawn->cables : links.size();
    for (std::size_t i = 0; i < links.size(); ++i) {
      const bool pair = i < paired;
      const Link& link = links[i];
      if ((pair && i % 2 == 1) || !layout_.vertices[link.from].shown || !layout_.vertices[link.to].shown) continue;
      double busy = 0;
      if (!utilization_.empty()) busy = pair ? std::max(utilization_[i], utilization_[i + 1]) : utilization_[i];
      draw_link(link, busy);
    }
  }

  /// Between rows a line from the edge of one box to that of the other, straight down where a wide box is above or
  /// below; in one row an arc, over sockets and under GPUs.
  void draw_link(const Link& link, double busy) {
    PlacedVertex a = layout_.vertices[link.from], b = layout_.vertices[link.to];
    if (a.y > b.y) std::swap(a, b);
    const double half = layout_.box_height / 2;
    std::string shape;
    if (a.y == b.y) {
      const bool over = topology_.vertices()[link.from].kind == VertexKind::host;
      const double side = over ? -1 : 1;
      const double edge = a.y + side * half,
                   bend = side * std::min(over ? 90.0 : 130.0, 16 + std::abs(a.x - b.x) * 0.24);
      shape =
          fmt::format("M{:.1f} {:.1f}Q{:.1f} {:.1f} {:.1f} {:.1f}", a.x, edge, (a.x + b.x) / 2, edge + bend, b.x, edge);
    } else {
      const auto under = [](const PlacedVertex& wide, double x) {
        const double reach = std::max(0.0, wide.width / 2 - 6);
        return std::clamp(x, wide.x - reach, wide.x + reach);
      };
      const double from = a.width > b.width ? under(a, b.x) : a.x, to = b.width > a.width ? under(b, a.x) : b.x;
      shape = fmt::format("M{:.1f} {:.1f}L{:.1f} {:.1f}", from, a.y + half, to, b.y - half);
    }
    const std::string colour = utilization_.empty() ? colour_of(link.kind) : heat(busy);
    body_ += fmt::format(
        "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{:.1f}\" stroke-opacity=\"0.75\"><title>{} - {}: "
        "{}</title></path>\n",
        shape, colour, width_of(link.rate), xml_escaped(topology_.vertices()[link.from].name),
        xml_escaped(topology_.vertices()[link.to].name), tip(link, busy));
  }

  /// Beside the gap between two neighbouring rows the rates of what crosses it, at most two.
  void draw_rates() {
    std::map<double, std::vector<std::string>> texts;  // by the upper row
    for (const Link& link : topology_.links()) {
      const PlacedVertex &a = layout_.vertices[link.from], &b = layout_.vertices[link.to];
      if (!a.shown || !b.shown || a.y >= b.y) continue;
      const auto upper =
          std::find_if(layout_.rows.begin(), layout_.rows.end(), [&](const RowLabel& row) { return row.y == a.y; });
      if (upper + 1 == layout_.rows.end() || (upper + 1)->y != b.y) continue;
      std::vector<std::string>& list = texts[(a.y + b.y) / 2];
      const std::string text = fmt::format("{:.4g} GB/s", link.rate.bandwidth.value / 1e9);
      if (std::find(list.begin(), list.end(), text) != list.end()) continue;
      if (list.size() == 2) {
        list[1] = "and others";
        continue;
      }
      list.push_back(text);
    }
    for (const auto& [y, list] : texts) {
      for (std::size_t i = 0; i < list.size(); ++i) {
        body_ += text_at(26, y + 4 + 13 * (static_cast<double>(i) - static_cast<double>(list.size() - 1) / 2), list[i],
                         "class=\"rate\"");
      }
    }
  }

  std::string tip(const Link& link, double busy) const {
    std::string text = fmt::format("{:.4g} GB/s one way", link.rate.bandwidth.value / 1e9);
    if (!utilization_.empty()) text += fmt::format(", {} busy", percent(busy));
    return text;
  }

  void draw_vertex(std::uint32_t v) {
    const PlacedVertex& at = layout_.vertices[v];
    if (!at.shown) return;
    const Vertex& vertex = topology_.vertices()[v];
    body_ += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.0f}\" rx=\"4\" fill=\"{}\" "
        "stroke=\"#6b7280\"><title>{}</title></rect>\n",
        at.x - at.width / 2, at.y - layout_.box_height / 2, at.width, layout_.box_height, fill_of(vertex.kind),
        xml_escaped(vertex.name));
    body_ += text_at(at.x, at.y + 3.5, label_of(vertex.name, at.width), "class=\"part\"");
  }

  void draw_left_out() {
    if (layout_.hidden_nodes > 0) {
      const NodeFrame& frame = layout_.frames.front();
      body_ += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"130\" height=\"{:.1f}\" rx=\"8\" fill=\"none\" stroke=\"#9aa0a8\" "
          "stroke-dasharray=\"5 4\"/>\n",
          layout_.more_left, frame.top, frame.bottom - frame.top);
      const double middle = (frame.top + frame.bottom) / 2;
      body_ += text_at(layout_.more_left + 65, middle - 4,
                       fmt::format("... x {} more", whole_number(layout_.hidden_nodes)), "class=\"more\"");
      body_ +=
          text_at(layout_.more_left + 65, middle + 14, layout_.hidden_nodes == 1 ? "node" : "nodes", "class=\"more\"");
    }
    y_ = layout_.height + 14;
    const auto say = [&](std::uint32_t hidden, const char* what) {
      if (hidden == 0) return;
      body_ += text_at(14, y_, fmt::format("{} more {} not drawn", whole_number(hidden), what), "class=\"sub\"");
      y_ += 18;
    };
    say(layout_.hidden_leaves, "leaf switches");
    say(layout_.hidden_spines, "spines");
  }

  struct LegendRow {
    LinkKind kind = LinkKind::scale_up;
    VertexKind one_end = VertexKind::gpu, other_end = VertexKind::gpu;
    LinkClass rate;
    std::int64_t links = 0;
  };

  /// Classes of links by kind, ends and rate, in the order of the picture from top to bottom.
  std::vector<LegendRow> legend_rows() const {
    std::vector<LegendRow> list;
    for (const Link& link : topology_.links()) {
      const auto [one, other] = std::minmax({topology_.vertices()[link.from].kind, topology_.vertices()[link.to].kind});
      const auto same = std::find_if(list.begin(), list.end(), [&](const LegendRow& row) {
        return row.kind == link.kind && row.one_end == one && row.other_end == other && row.rate == link.rate;
      });
      if (same != list.end()) {
        ++same->links;
      } else {
        list.push_back({link.kind, one, other, link.rate, 1});
      }
    }
    std::stable_sort(list.begin(), list.end(), [](const LegendRow& a, const LegendRow& b) { return a.kind > b.kind; });
    return list;
  }

  void draw_legend() {
    y_ += 12;
    constexpr std::size_t most = 14;
    const std::vector<LegendRow> list = legend_rows();
    for (std::size_t i = 0; i < std::min(most, list.size()); ++i) {
      const LegendRow& row = list[i];
      body_ += fmt::format(
          "<line x1=\"14\" x2=\"50\" y1=\"{0:.1f}\" y2=\"{0:.1f}\" stroke=\"{1}\" stroke-width=\"{2:.1f}\"/>\n", y_ - 4,
          utilization_.empty() ? colour_of(row.kind) : "#8a8f98", width_of(row.rate));
      body_ += text_at(
          60, y_,
          fmt::format("{} - {} ({}): {:.4g} GB/s one way, {:.3g} % reachable, {}; {} directed links", word(row.one_end),
                      word(row.other_end), word(row.kind), row.rate.bandwidth.value / 1e9, row.rate.efficiency * 100,
                      time_text(row.rate.latency.seconds()), whole_number(row.links)),
          "class=\"legend\"");
      y_ += 20;
    }
    if (list.size() > most) {
      body_ += text_at(60, y_, fmt::format("and {} more classes of links", list.size() - most), "class=\"legend\"");
      y_ += 20;
    }
    if (!utilization_.empty()) draw_scale();
  }

  void draw_scale() {
    for (int i = 0; i <= 10; ++i) {
      body_ += fmt::format("<rect x=\"{}\" y=\"{:.1f}\" width=\"18\" height=\"12\" fill=\"{}\"/>\n", 60 + 18 * i,
                           y_ - 10, heat(i / 10.0));
    }
    body_ += text_at(266, y_, "busier direction: 0 to 100 % of the time", "class=\"legend\"");
    y_ += 20;
  }

  static std::string_view word(VertexKind kind) {
    switch (kind) {
      case VertexKind::gpu:
        return "GPU";
      case VertexKind::nvswitch:
        return "scale-up switch";
      case VertexKind::pcie_switch:
        return "PCIe switch";
      case VertexKind::host:
        return "CPU";
      case VertexKind::nic:
        return "NIC";
      case VertexKind::leaf:
        return "leaf";
      case VertexKind::spine:
        return "spine";
    }
    return "";
  }
  static std::string_view word(LinkKind kind) {
    switch (kind) {
      case LinkKind::scale_up:
        return "scale-up";
      case LinkKind::pcie:
        return "PCIe or C2C";
      case LinkKind::nic:
        return "network port";
      case LinkKind::fabric:
        return "fabric";
    }
    return "";
  }

  const Topology& topology_;
  std::span<const double> utilization_;
  ClusterLayout layout_;
  std::string body_;
  double y_ = 0;  ///< where the next line of text goes
};

}  // namespace

std::string cluster_svg(const Topology& topology, std::span<const double> utilization) {
  return Drawing(topology, utilization).svg();
}

}  // namespace moesim
