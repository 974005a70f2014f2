#include "config/import_graphml.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <tuple>

#include "config/json_reader.h"
#include "config/read_gpu.h"
#include "config/xml_document.h"

namespace moesim {

namespace {

template <class Kind, std::size_t n>
std::optional<Kind> kind_named(const std::string& word) {
  for (std::size_t i = 0; i < n; ++i) {
    if (word == name(static_cast<Kind>(i))) return static_cast<Kind>(i);
  }
  return std::nullopt;
}

template <class Kind, std::size_t n>
std::string kind_list() {
  std::string list;
  for (std::size_t i = 0; i < n; ++i) list.append(i == 0 ? "" : ", ").append(name(static_cast<Kind>(i)));
  return list;
}

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : document_(read_xml_document(path)) {}

  ClusterGraph read() {
    if (document_.root.tag != "graphml") {
      document_.fail(document_.root, fmt::format("<{}>; expected <graphml>", echo(document_.root.tag)));
    }
    const XmlElement* graph = nullptr;
    for (const XmlElement& child : document_.root.children) {
      if (child.tag == "key") keys_[std::string(child.value("id"))] = std::string(child.value("attr.name"));
      if (child.tag != "graph") continue;
      if (graph != nullptr) document_.fail(child, "a second <graph>; expected one");
      graph = &child;
    }
    if (graph == nullptr) document_.fail(document_.root, "no <graph>");
    read_nodes(*graph);
    read_edges(*graph);
    if (const auto ends = unconnected(result_)) {
      document_.fail(*graph, fmt::format("no path from {} to {}; expected every GPU to reach every other one",
                                         result_.vertices[ends->first].name, result_.vertices[ends->second].name));
    }
    return std::move(result_);
  }

 private:
  using Data = std::map<std::string, std::string>;

  Data data_of(const XmlElement& element) const {
    Data data;
    for (const XmlElement& child : element.children) {
      if (child.tag != "data") continue;
      const std::string key(child.value("key"));
      const auto name = keys_.find(key);
      if (name == keys_.end()) document_.fail(child, fmt::format("no <key> has the id \"{}\"", echo(key)));
      data[name->second.empty() ? key : name->second] = child.text;
    }
    return data;
  }

  void read_nodes(const XmlElement& graph) {
    for (const bool gpus : {true, false}) {
      for (const XmlElement& element : graph.children) {
        if (element.tag != "node") continue;
        const Data data = data_of(element);
        const std::string id(element.value("id"));
        const auto kind_word = data.find("kind");
        const auto kind =
            kind_word == data.end() ? std::nullopt : kind_named<VertexKind, kVertexKinds>(kind_word->second);
        if (!kind) {
          document_.fail(element, fmt::format("node {} has {}; expected {}", echo(id),
                                              kind_word == data.end() ? std::string("no data \"kind\"")
                                                                      : "the kind \"" + echo(kind_word->second) + "\"",
                                              kind_list<VertexKind, kVertexKinds>()));
        }
        if ((*kind == VertexKind::gpu) != gpus) continue;
        if (!index_.emplace(id, result_.vertices.size()).second) {
          document_.fail(element, fmt::format("a second node with the id \"{}\"", echo(id)));
        }
        const std::string label = data.contains("name") ? data.at("name") : id;
        if (label.empty() || !labels_.emplace(label, id).second) {
          document_.fail(element, fmt::format("node {} has the name \"{}\", which is {}", echo(id), echo(label),
                                              label.empty() ? "empty" : "another's"));
        }
        const double node = data.contains("node") ? number(element, data, "node", 0, 65535) : -1;
        result_.add(*kind, label, static_cast<std::int32_t>(node));
      }
      if (gpus && result_.vertices.empty()) document_.fail(graph, "no node of kind gpu");
    }
  }

  double number(const XmlElement& element, const Data& data, const std::string& key, double low, double high) const {
    const auto found = data.find(key);
    if (found == data.end()) document_.fail(element, fmt::format("no data \"{}\"", key));
    char* end = nullptr;
    const double value = std::strtod(found->second.c_str(), &end);
    if (found->second.empty() || *end != 0 || !(value >= low && value <= high)) {
      document_.fail(element,
                     fmt::format("{} \"{}\"; expected a number from {} to {}", key, echo(found->second), low, high));
    }
    return value;
  }

  std::uint32_t end_of(const XmlElement& edge, std::string_view which) const {
    const std::string id(edge.value(which));
    const auto found = index_.find(id);
    if (found == index_.end()) {
      document_.fail(edge, fmt::format("the {} \"{}\" of the edge is no node of the file", which, echo(id)));
    }
    return found->second;
  }

  Link link_of(const XmlElement& edge) const {
    const Data data = data_of(edge);
    Link link{.from = end_of(edge, "source"), .to = end_of(edge, "target"), .kind = {}, .rate = {}};
    if (link.from == link.to) document_.fail(edge, "an edge to where it comes from");
    link.kind = usual_kind(result_.vertices[link.from].kind, result_.vertices[link.to].kind);
    if (const auto word = data.find("link_kind"); word != data.end()) {
      const auto kind = kind_named<LinkKind, kLinkKinds>(word->second);
      if (!kind) {
        document_.fail(edge, fmt::format("the link_kind \"{}\"; expected {}", echo(word->second),
                                         kind_list<LinkKind, kLinkKinds>()));
      }
      link.kind = *kind;
    }
    link.rate.bandwidth = {number(edge, data, "gbps", 1e-3, 1e9) * 1e9};
    link.rate.latency = Duration::from_microseconds(number(edge, data, "lat_us", 0, 1e9));
    if (data.contains("efficiency")) link.rate.efficiency = number(edge, data, "efficiency", 0.001, 1);
    return link;
  }

  /// Cables where the first of their edges stands, then edges of one direction.
  void read_edges(const XmlElement& graph) {
    const bool undirected = graph.value("edgedefault") == "undirected";
    struct Edge {
      Link link;
      bool both = false, taken = false;
    };
    std::vector<Edge> edges;
    using Key = std::tuple<std::uint32_t, std::uint32_t, LinkKind, double, double, Duration>;
    const auto key = [](const Link& l) {
      return Key{l.from, l.to, l.kind, l.rate.bandwidth.value, l.rate.efficiency, l.rate.latency};
    };
    std::map<Key, std::deque<std::size_t>> places;
    for (const XmlElement& element : graph.children) {
      if (element.tag == "hyperedge") document_.fail(element, "hyperedges are not read; expected edges");
      if (element.tag != "edge") continue;
      const std::string_view own = element.value("directed");
      const bool both = own.empty() ? undirected : own == "false";
      edges.push_back({link_of(element), both});
      if (!both) places[key(edges.back().link)].push_back(edges.size() - 1);
    }
    std::vector<Link> one_way;
    for (Edge& edge : edges) {
      if (edge.taken) continue;
      Link back = edge.link;
      std::swap(back.from, back.to);
      if (!edge.both) {
        std::deque<std::size_t>& same = places[key(edge.link)];
        same.pop_front();
        const auto opposite = places.find(key(back));
        if (opposite == places.end() || opposite->second.empty()) {
          one_way.push_back(edge.link);
          continue;
        }
        edges[opposite->second.front()].taken = true;
        opposite->second.pop_front();
      }
      result_.connect(edge.link.from, edge.link.to, edge.link.kind, edge.link.rate);
    }
    result_.links.insert(result_.links.end(), one_way.begin(), one_way.end());
  }

  XmlDocument document_;
  std::map<std::string, std::string> keys_;  ///< id -> attr.name
  std::map<std::string, std::uint32_t> index_;
  std::map<std::string, std::string> labels_;
  ClusterGraph result_;
};

}  // namespace

ClusterSpec import_graphml(const std::filesystem::path& path, const std::string& gpu) {
  if (gpu.empty()) {
    throw ConfigError(InputProblem::usage,
                      fmt::format("{}: a graph does not say which GPU it is of; add --gpu NAME", input_name(path)));
  }
  ClusterSpec cluster;
  cluster.gpu = find_gpu(gpu).id;
  cluster.graph = Reader(path).read();
  cluster.name = std::filesystem::path(input_name(path)).stem().string();
  cluster.source = "rates and latencies as " + std::filesystem::path(input_name(path)).filename().string() +
                   " gives them; edges without an efficiency reach their line rate";
  sum_up_graph(cluster);
  return cluster;
}

}  // namespace moesim
