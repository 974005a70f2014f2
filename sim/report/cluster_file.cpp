#include "report/cluster_file.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "report/number_text.h"

namespace moesim {

namespace {

std::string quoted(const std::string& text) {
  return nlohmann::ordered_json(text).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string link_line(const ClusterGraph& graph, const Link& link, bool one_way) {
  std::string line =
      fmt::format(R"({{"from": {}, "to": {}, "bandwidth": "{} GB/s", "efficiency": {}, "latency": "{} us")",
                  quoted(graph.vertices[link.from].name), quoted(graph.vertices[link.to].name),
                  link.rate.bandwidth.value / 1e9, link.rate.efficiency, exact_decimal(link.rate.latency.ps(), 6));
  if (link.kind != usual_kind(graph.vertices[link.from].kind, graph.vertices[link.to].kind)) {
    line += fmt::format(R"(, "kind": "{}")", name(link.kind));
  }
  return line + (one_way ? R"(, "one_way": true})" : "}");
}

}  // namespace

std::string cluster_file_text(const ClusterSpec& cluster) {
  MOESIM_CHECK(cluster.graph.has_value(), "{} has no graph", cluster.name);
  const ClusterGraph& graph = *cluster.graph;
  std::string text = fmt::format("{{\n  \"name\": {},\n  \"gpu\": {},\n", quoted(cluster.name), quoted(cluster.gpu));
  if (cluster.node_power_watts > 0) text += fmt::format("  \"node_power\": \"{} W\",\n", cluster.node_power_watts);
  text += fmt::format("  \"source\": {},\n  \"graph\": {{\n", quoted(cluster.source));
  if (cluster.multipath == Multipath::hash) text += "    \"multipath\": \"hash\",\n";
  text += "    \"vertices\": [";
  for (std::size_t i = 0; i < graph.vertices.size(); ++i) {
    const Vertex& vertex = graph.vertices[i];
    text += fmt::format("{}      {{\"name\": {}, \"kind\": \"{}\"", i == 0 ? "\n" : ",\n", quoted(vertex.name),
                        name(vertex.kind));
    text += vertex.node >= 0 ? fmt::format(", \"node\": {}}}", vertex.node) : "}";
  }
  text += "\n    ],\n    \"links\": [";
  bool first = true;
  for (std::size_t i = 0; i < graph.links.size(); ++i) {
    const bool one_way = i >= 2 * graph.cables;
    if (!one_way && i % 2 == 1) continue;  // the way back
    text += (first ? "\n      " : ",\n      ") + link_line(graph, graph.links[i], one_way);
    first = false;
  }
  return text + "\n    ]\n  }\n}\n";
}

}  // namespace moesim
